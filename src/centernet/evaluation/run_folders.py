"""The output folders of runs and their parts: their journals, and the data that they name."""

import contextlib
import os
import resource
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import DataError
from ..files import display_path
from ..shards import Shard, shard_of_folder
from .journal_file import JOURNAL_NAME, Content, DamagedLine, OtherVersion, read_content

#: the built-in data set in the folder of a run, which may have been moved with it
_SAMPLE = ('sample/annotations/instances_val2017.json', 'sample/val2017')


class Part(NamedTuple):
    """The journal of a part of a run. ``path``: as it is shown; ``handle``: of the open file."""

    folder: str
    path: str
    handle: int
    content: Content

    def entry(self, name: str) -> Any:
        """An entry of its first session's description."""
        return self.content.sessions[0][name]


def find_shards(folder: str) -> List[str]:
    """Return the folders of the shards that a folder has, or the folder itself if it is that of a shard; none
    if it is something else.

    Raises:
        DataError: there is no such folder.
    """
    if os.path.isfile(os.path.join(folder, JOURNAL_NAME)):
        return [folder]
    if not os.path.isdir(folder):
        raise DataError(f'no such folder: {display_path(folder)}')
    shards = {shard_of_folder(name): name for name in os.listdir(folder)}
    return [os.path.join(folder, shards[shard]) for shard in sorted(shard for shard in shards if shard)]


def find_runs(folders: Sequence[str]) -> Dict[str, List[str]]:
    """Return the folders of the shards of each run.

    Args:
        folders: each as for :func:`find_shards`, or with such a folder for each of several checkpoints.

    Returns:
        Name of a checkpoint -> folders of its shards. The name is empty if ``folders`` are of one run.

    Raises:
        DataError: a folder has no shards.
    """
    runs: Dict[str, List[str]] = {}
    for folder in folders:
        shards = {'': find_shards(folder)}
        if not shards['']:
            inner = sorted(name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)))
            shards = {name: find_shards(os.path.join(folder, name)) for name in inner}
        if not any(shards.values()):
            raise DataError(
                f'{display_path(folder)} has neither a {JOURNAL_NAME} nor folders of shards, such as'
                f' {Shard(1, 4).folder}'
            )
        for name, found in shards.items():
            if found:
                runs.setdefault(name, []).extend(found)
    if '' in runs and len(runs) > 1:
        raise DataError(
            'some of the folders are of one run, and others of several checkpoints: merge them apart'
        )
    return runs


def find_recorded(folder: str, recorded: Dict[str, Any]) -> Optional[Tuple[str, str]]:
    """Return the annotations file and the folder of images that a run recorded, or the sample beside it; None
    if they are missing.

    Args:
        folder: of the run.
        recorded: has ``annotations`` and ``images``.
    """
    moved = tuple(os.path.join(folder, *name.split('/')) for name in _SAMPLE)
    for annotations, images in ((recorded['annotations'], recorded['images']), moved):
        if os.path.exists(annotations):
            return annotations, images
    return None


def open_parts(folders: Sequence[str], stack: contextlib.ExitStack) -> List[Part]:
    """Open the journals in folders, without those that have no image yet.

    Args:
        folders: the output folders.
        stack: closes the files.

    Raises:
        DataError: a journal is missing or damaged, or no image is finished.
    """
    _allow_open_files(len(folders))
    parts = [part for part in (_open(folder, stack) for folder in folders) if part is not None]
    if not parts:
        raise DataError(f'{display_path(folders[0])}: no image is finished yet')
    return parts


def _open(folder: str, stack: contextlib.ExitStack) -> Optional[Part]:
    """Open a journal; None if it has not begun."""
    path = os.path.join(folder, JOURNAL_NAME)
    shown = display_path(path)
    try:
        file = stack.enter_context(open(path, 'rb'))
        content = read_content(file)
    except FileNotFoundError:
        if shard_of_folder(os.path.basename(os.path.normpath(folder))):
            return None
        raise DataError(
            f'{display_path(folder)} is not the folder of a shard: it has no {JOURNAL_NAME}'
        ) from None
    except OSError as error:
        raise DataError(f'cannot read {shown}: {error.strerror}') from None
    except DamagedLine as error:
        raise DataError(f'{shown} is damaged in line {error.number}: evaluate this shard again') from None
    except OtherVersion:
        raise DataError(
            f'{shown} was written by another version of centernet: evaluate this shard again'
        ) from None
    if content is None or not content.sessions:
        return None
    return Part(folder, shown, file.fileno(), content)


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
