"""From the manifest to files in their places."""

import os
import shutil
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ..errors import FetchError, OutputError
from ..files import ensure_folder
from . import unpacking
from .download import DEFAULT_POLICY, Policy, download
from .manifest import Folder, Item

#: states in which there is nothing to do
GOOD = ('right', 'fetched', 'unknown')


class Outcome(NamedTuple):
    """What became of an item.

    ``state``: ``right`` (it was there), ``fetched``, ``unknown`` (there, but nothing here can check it), or,
    where it is not there as it should be, ``missing``, ``damaged``, ``foreign`` (something else has its
    name), ``failed``. ``paths``: its places. ``why``: more on the state. ``source``: where it came from.
    """

    name: str
    group: str
    state: str
    paths: Tuple[str, ...]
    why: str = ''
    source: Optional[str] = None


def look(item: Item, root: str, thorough: bool = True) -> Outcome:
    """Whether an item is in its place, without changing anything.

    Args:
        item: of the manifest.
        root: the folder for its group.
        thorough: read the files of a folder, too, not only their names and sizes.
    """
    paths = places(item, root)
    if item.unpack is None:
        found = [unpacking.look_at_file(paths[0], item.bytes, item.sha256)]
    else:
        found = [unpacking.look(part, item, root, thorough) for part in item.unpack]
    for state in ('foreign', 'damaged', 'missing', 'unknown'):
        why = [reason for other, reason in found if other == state]
        if why:
            return Outcome(item.name, item.group, state, paths, why[0])
    return Outcome(item.name, item.group, 'right', paths)


def places(item: Item, root: str) -> Tuple[str, ...]:
    """What an item becomes: paths."""
    if item.unpack is None:
        return (os.path.join(root, item.name),)
    return tuple(os.path.join(root, *part.path.split('/')) for part in item.unpack)


def fetch(
    items: List[Item],
    roots: Dict[str, str],
    replace: bool = False,
    policy: Policy = DEFAULT_POLICY,
    progress: bool = True,
    say: Callable[[Outcome], None] = lambda outcome: None,
) -> List[Outcome]:
    """Bring items into their places. What is right is left as it is; what fails keeps no other item from
    being fetched.

    Args:
        items: of the manifest.
        roots: group -> folder.
        replace: also put them in the place of other files of that name; else these are left, and the item
            counts as ``foreign``.
        policy: how long mirrors are tried.
        progress: show bars on stderr.
        say: is told of each item when it is done.

    Raises:
        OutputError: something cannot be written.
    """
    outcomes = []
    for item in items:
        root = roots[item.group]
        found = look(item, root, thorough=False)
        if found.state in ('missing', 'damaged') or (found.state in ('foreign', 'unknown') and replace):
            try:
                source = _bring(item, root, replace, policy, progress)
                found = found._replace(state='fetched', why='', source=source)
            except FetchError as error:
                found = found._replace(state='failed', why=str(error))
        elif found.state == 'foreign':
            found = found._replace(why=found.why + '; move it away, or give --replace')
        if found.state == 'right' and item.unpack and unpacking.leftovers(item, root):
            with unpacking.working_folder(root):
                unpacking.clean(item, root)
        outcomes.append(found)
        say(found)
    return outcomes


def _bring(item, root, replace, policy, progress):
    """Download and unpack; returns where it came from."""
    ensure_folder(root)
    if item.unpack is None:
        _check_space(root, item.bytes - _size(places(item, root)[0] + '.part'))
        return download(item, places(item, root)[0], policy, progress)
    with unpacking.working_folder(root) as work:
        return _bring_zip(item, root, work, replace, policy, progress)


def _bring_zip(item, root, work, replace, policy, progress):
    own = os.path.join(root, item.name)
    if unpacking.look_at_file(own, item.bytes, item.sha256)[0] == 'right':
        unpacking.unpack(own, item, root, work, replace)  # the user's copy, which stays
        return own
    archive = os.path.join(work, item.name)
    source = archive
    unpacked = sum(part.bytes_at_most if isinstance(part, Folder) else part.bytes for part in item.unpack)
    if unpacking.look_at_file(archive, item.bytes, item.sha256)[0] != 'right':
        _check_space(root, item.bytes - _size(archive + '.part') + unpacked)
        source = download(item, archive, policy, progress, own)
    unpacking.unpack(archive, item, root, work, replace)
    unpacking.clean(item, root)
    return source


def _check_space(folder, needed):
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(f'{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed')


def _size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
