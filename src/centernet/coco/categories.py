"""Which category of a data set belongs to which channel of a network's heat map."""

import collections
import re
import shlex
from typing import Collection, Dict, List, Optional, Sequence, Tuple

from ..system.errors import OptionError

Category = Tuple[int, str]
Channels = List[Optional[Category]]

_COCO = (
    'person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop '
    'sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, '
    'backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, '
    'baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, '
    'bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, '
    'potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, '
    'oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush'
)
#: the names of COCO's 80 classes by category id, the channels of a network that does not name its own
COCO_CLASSES = tuple(_COCO.split(', '))
#: in --categories, a channel without a category
NO_CATEGORY = '-'
#: so many names are listed; longer ones are cut
_LISTED, _LETTERS = 20, 30
#: a name that can stand in a list on the command line, and is not too long for an error
_FITS = re.compile(r"(?!.{31})\w[\w.'()/+-]*( [\w.'()/+-]+)*\Z")


def match_classes(
    categories: Sequence[Category],
    with_objects: Collection[int],
    supercategories: Dict[int, str],
    count: int,
    names: Optional[Sequence[str]] = None,
    wanted: Optional[Sequence[str]] = None,
) -> Tuple[Channels, List[str]]:
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

    Returns:
        The category of each channel, None for a channel without one; and a line for each assumption.

    Raises:
        OptionError: it cannot be decided, or ``wanted`` is wrong; the message shows how to decide it.
    """
    if wanted is not None:
        return _as_wanted(categories, count, wanted)
    are_assumed = names is None and count == len(COCO_CLASSES)
    names = COCO_CLASSES if are_assumed else names
    by_order, without = list(categories), ''
    groups = _groups(categories, with_objects, supercategories)
    if len(by_order) != count and groups:
        by_order = [item for item in categories if item not in groups]
        without = f'; left out: {_few(groups)}, only the name of a group'
    by_name = _by_name(categories, names or ())
    found = set(by_name) - {None}
    expected = with_objects or {number for number, _ in by_order}
    strangers = [item for item in categories if item not in found and item[0] in expected]
    if by_name == list(categories):
        return by_name, []
    if found and not strangers:
        return by_name, [_about(by_name, categories, are_assumed)]
    why = (
        'the network names no classes' if names is None else f'not classes of the network: {_few(strangers)}'
    )
    if len(by_order) != count or any(match not in (None, usual) for match, usual in zip(by_name, by_order)):
        raise _undecided(why, categories, count, by_name if found else by_order)
    return by_order, [f'classes: {why}; class i is the i-th category in the order of the ids{without}']


def _by_name(categories: Sequence[Category], names: Sequence[str]) -> Channels:
    """Return the category of the same name for each channel, None where there is none or no single one."""
    alike = collections.defaultdict(list)
    for category in categories:
        alike[_plain(category[1])].append(category)
    spelled = collections.Counter(map(_plain, names))
    return [alike[name][0] if len(alike[name]) == spelled[name] == 1 else None for name in map(_plain, names)]


def _as_wanted(
    categories: Sequence[Category], count: int, wanted: Sequence[str]
) -> Tuple[Channels, List[str]]:
    ids = {str(number): (number, name) for number, name in categories}
    matches = zip(wanted, _by_name(categories, wanted))
    channels = [None if entry == NO_CATEGORY else match or ids.get(entry) for entry, match in matches]
    unknown = [entry for entry, match in zip(wanted, channels) if match is None and entry != NO_CATEGORY]
    found = [category for category in channels if category is not None]
    if len(wanted) != count or unknown or not found or len(set(found)) < len(found):
        raise OptionError(
            f'--categories takes the name or id of a category, none twice, or {NO_CATEGORY} for each of the'
            f' {count} channels, not {len(wanted)} entries with {_few(unknown) or "no"} unknown; there are'
            f' {_few(categories)}'
        )
    rest = [category for category in categories if category not in channels]
    return channels, [f'classes: not in --categories, left out: {_few(rest)}'] if rest else []


def _groups(
    categories: Sequence[Category], with_objects: Collection[int], supercategories: Dict[int, str]
) -> List[Category]:
    """Return the categories without objects whose name is the group of another category."""
    members = collections.defaultdict(set)
    for number, name in supercategories.items():
        members[name].add(number)
    return [item for item in categories if item[0] not in with_objects and members[item[1]] - {item[0]}]


def _about(channels: Channels, categories: Sequence[Category], are_assumed: bool) -> str:
    """Say how categories were matched by name."""
    free, found = channels.count(None), set(channels)
    rest = [category for category in categories if category not in found]
    text = 'classes: matched to the categories by name'
    text += ', with the names of COCO assumed for its 80 channels' if are_assumed else ''
    text += f'; {free} of {len(channels)} have no category' if free else ''
    return text + (f'; left out, as they have no objects: {_few(rest)}' if rest else '')


def _undecided(why: str, categories: Sequence[Category], count: int, guess: Channels) -> OptionError:
    """Return the error that shows --categories.

    ``guess``: what its value could look like, as far as it goes.
    """
    shown = [
        NO_CATEGORY if item is None else item[1] if _FITS.match(item[1]) else str(item[0])
        for item in (list(guess) + [None] * count)[:count]
    ]
    return OptionError(
        f"the network's classes ({count}) cannot be matched to the categories of the data set"
        f' ({len(categories)}): {why}; say which category belongs to which class: --categories takes one name'
        f" or id for each, in the order of the network's channels, {NO_CATEGORY} for none, such as"
        f' --categories={shlex.quote(",".join(shown))}'
    )


def _few(items: Sequence) -> str:
    names = [item if isinstance(item, str) else item[1] for item in items[:_LISTED]]
    more = f' and {len(items) - _LISTED} more' if len(items) > _LISTED else ''
    return ', '.join(name[:_LETTERS] for name in names) + more


def _plain(name: str) -> str:
    return re.sub(r'[\s_-]', '', name).casefold()
