"""Which category of a data set belongs to which channel of a network's heat map."""

import collections
import re
import shlex
from typing import Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import OptionError
from .coco_classes import COCO_CLASSES

Category = Tuple[int, str]
Channels = List[Optional[Category]]

#: in --categories, a channel without a category
NO_CATEGORY = '-'
_BY_NAME = 'classes: matched to the categories by name'
_BY_ORDER = 'classes: matched to the categories by the order of the ids'
#: so many names are listed in a line, and in an error; longer names are cut
_NAMED, _LISTED, _LETTERS = 8, 40, 30
#: so many channels has the example of --categories
_SHOWN = 100


class Matched(NamedTuple):
    """The category of each channel, None for a channel without one, and a line for each assumption."""

    channels: Channels
    notes: List[str]


def match_classes(
    categories: Sequence[Category],
    with_objects: Collection[int],
    supercategories: Dict[int, str],
    count: int,
    names: Optional[Sequence[str]] = None,
    wanted: Optional[Sequence[str]] = None,
) -> Matched:
    """Find the category of each channel.

    Where the network's class names are known, categories are matched by name; case, spaces, underscores and
    hyphens do not matter. Otherwise, or if no name or only the spelling of some differs, the order of the ids
    decides, which needs equal counts. A category without objects that only names the group of others, as
    Roboflow writes it, does not count then.

    Args:
        categories: (id, name), sorted by id.
        with_objects: ids of the categories that have annotations.
        supercategories: category id -> name of its group.
        count: channels of the network.
        names: its class names; None if they are not known. 80 channels have COCO's then.
        wanted: what --categories says, a name or an id for each channel, or ``-``.

    Raises:
        OptionError: it cannot be decided, or ``wanted`` is wrong; the message shows how to decide it.
    """
    if wanted is not None:
        return _as_wanted(list(categories), count, wanted)
    are_assumed = names is None and count == len(COCO_CLASSES)
    names = COCO_CLASSES if are_assumed else names
    order, without = list(categories), ''
    groups = _groups(categories, with_objects, supercategories)
    if len(order) != count and groups:
        order = sorted(set(categories) - set(groups))
        without = f'; left out: {_few(groups)}, only the name of a group'
    if names is None:
        if len(order) != count:
            raise _undecided('', categories, count, order)
        return Matched(order, [f'{_BY_ORDER}, as the network does not name its classes{without}'])
    by_name = _by_name(categories, names)
    found = {category for category in by_name if category is not None}
    if not found:
        if len(order) != count:
            raise _undecided('; no name is the same', categories, count, order)
        why = f'as no category has the name of a class ({_few(names)})'
        return Matched(order, [f'{_BY_ORDER}, {why}{without}'])
    expected = with_objects or {number for number, _ in order}
    strangers = [item for item in categories if item not in found and item[0] in expected]
    if strangers:
        in_place = all(match in (None, usual) for match, usual in zip(by_name, order))
        if len(order) != count or not in_place:
            said = '; not classes of the network: ' + _few(strangers, _LISTED)
            raise _undecided(said, categories, count, by_name)
        differing = [
            f'{name} is taken as {usual[1]}'
            for name, usual, match in zip(names, order, by_name)
            if match is None
        ]
        return Matched(order, [f'{_BY_ORDER}, though some names differ: {_few(differing)}{without}'])
    return Matched(by_name, [] if by_name == list(categories) else [_about(by_name, categories, are_assumed)])


def _by_name(categories: Sequence[Category], names: Sequence[str]) -> Channels:
    """Return the category of the same name for each channel, None where there is none or no single one."""
    exact = {name: (number, name) for number, name in categories}
    alike = collections.defaultdict(list)
    for category in categories:
        alike[_plain(category[1])].append(category)
    spelled = collections.Counter(map(_plain, names))
    found = []
    for name in names:
        same = alike[_plain(name)]
        single = same[0] if len(same) == 1 and spelled[_plain(name)] == 1 else None
        found.append(exact.get(name, single))
    return found


def _as_wanted(categories: List[Category], count: int, wanted: Sequence[str]) -> Matched:
    if len(wanted) != count:
        raise OptionError(
            f'--categories has {_many(len(wanted), "entr", "ies", "y")}, but the network has'
            f' {_many(count, "channel", "s")}; {NO_CATEGORY}'
            ' stands for a channel without a category'
        )
    ids = {str(number): (number, name) for number, name in categories}
    by_name = _by_name(categories, wanted)
    channels = []
    for entry, match in zip(wanted, by_name):
        category = None if entry == NO_CATEGORY else match or ids.get(entry)
        if category is None and entry != NO_CATEGORY:
            raise OptionError(
                f"--categories: '{entry[:_LETTERS]}' is neither the name nor the id of a category; there are"
                f' {_few(categories, _LISTED)}'
            )
        if category is not None and category in channels:
            raise OptionError(f"--categories: '{category[1][:_LETTERS]}' appears twice")
        channels.append(category)
    if not any(channels):
        raise OptionError('--categories: no channel has a category')
    rest = [category for category in categories if category not in channels]
    return Matched(channels, [f'classes: not in --categories, left out: {_few(rest)}'] if rest else [])


def _groups(
    categories: Sequence[Category], with_objects: Collection[int], supercategories: Dict[int, str]
) -> List[Category]:
    """Return the categories without objects whose name is the group of another category."""
    members = collections.defaultdict(set)
    for number, name in supercategories.items():
        members[name].add(number)
    return [
        (number, name)
        for number, name in categories
        if number not in with_objects and len(members[name]) > (number in members[name])
    ]


def _about(channels: Channels, categories: Sequence[Category], are_assumed: bool) -> str:
    """Say how categories were matched by name."""
    free, found = channels.count(None), set(channels)
    rest = [category for category in categories if category not in found]
    text = _BY_NAME + ', with the names of COCO assumed for its 80 channels' * are_assumed
    if free:
        text += f'; {free} of {len(channels)} have no category'
    return text + (f'; left out, as they have no objects: {_few(rest)}' if rest else '')


def _undecided(
    said: str, categories: Sequence[Category], count: int, guess: Sequence[Optional[Category]]
) -> OptionError:
    """Return the error that shows --categories.

    ``guess``: what its value could look like, as far as it goes.
    """
    shown = [
        NO_CATEGORY if item is None else str(item[0]) if _needs_id(item[1]) else item[1]
        for item in (list(guess) + [None] * count)[: min(count, _SHOWN)]
    ]
    example = shlex.quote(','.join(shown)) + (' and so on' if count > _SHOWN else '')
    classes = _many(count, 'class', 'es')
    theirs = _many(len(categories), 'categor', 'ies', 'y')
    return OptionError(
        f'the network has {classes} and the data set {theirs}{said}; say which category belongs to which'
        " class: --categories takes one name or id for each, in the order of the network's channels,"
        f' {NO_CATEGORY} for none, such as --categories={example}'
    )


def _many(count: int, noun: str, plural: str, singular: str = '') -> str:
    return f'{count} {noun}{singular if count == 1 else plural}'


def _needs_id(name: str) -> bool:
    """Return whether a name cannot stand in a list on the command line, or is too long for an error."""
    return len(name) > _LETTERS or not name.isprintable() or bool(re.search('^[@ -]|,| $|^$', name))


def _few(items: Sequence, most: int = _NAMED) -> str:
    names = [item if isinstance(item, str) else item[1] for item in items[:most]]
    more = f' and {len(items) - most} more' if len(items) > most else ''
    return ', '.join(name[:_LETTERS] for name in names) + more


def _plain(name: str) -> str:
    return re.sub(r'[\s_-]', '', name).casefold()
