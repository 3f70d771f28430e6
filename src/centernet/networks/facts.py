"""What a file says of its network besides the weights: input size, normalization and class names. The same is
read from a checkpoint's entries, from the options of its training among them, and from an ONNX file's
metadata."""

import contextlib
import json
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..detection import Normalization
from ..onnxfile.loading import LARGEST_SIDE
from ..options.normalization import FORMULA, of_numbers, parse_normalization
from ..system.errors import OptionError
from .architectures import divisor
from .checkpoint import LoadedModel

#: entries under which training scripts keep their options, and mmcv what it stores beside the weights
_OPTIONS = ('opt', 'args', 'config', 'cfg', 'hyper_parameters', 'meta')
#: entries of the input; mean and std also as mmcv and detectron2 call them
_SIZES = ('input_size', 'input_res', 'input_h', 'input_w')
_NORMALIZATIONS = ('normalization', 'mean', 'std', 'img_norm_cfg', 'pixel_mean', 'pixel_std')
_NAMES = ('classes', 'class_names', 'names', 'CLASSES')
_BACKGROUND = ('__background__', 'background', '_background_')


class Facts(NamedTuple):
    """What a file says; the first five fields are those of :class:`~centernet.networks.NetworkInfo`.

    ``notes``: a line for each entry that is not understood, and so ignored.
    """

    step: int = 32
    fixed: Optional[Tuple[int, int]] = None
    stored: Optional[Tuple[int, int]] = None
    normalization: Optional[Normalization] = None
    class_names: Optional[Tuple[str, ...]] = None
    notes: Tuple[str, ...] = ()


def facts_of_checkpoint(loaded: LoadedModel) -> Facts:
    """What a checkpoint says."""
    facts = facts_of_entries(loaded.checkpoint.meta, loaded.heads.get('hm', 0))
    return facts._replace(step=divisor(loaded.arch))


def facts_of_metadata(metadata: Mapping[str, str], classes: int = 0) -> Facts:
    """What an ONNX file's metadata say: ``input_size``, ``mean``, ``std`` and ``classes`` in JSON, as
    ``centernet export`` writes them.

    Args:
        metadata: of the file.
        classes: channels of the heat map.
    """
    notes = [
        f'warning: the metadata say {key} {metadata[key][:80]!r}; images are fed as {usual!r}'
        for key, usual in (('colour_order', 'BGR'), ('normalisation', FORMULA))
        if metadata.get(key, usual) != usual
    ]
    entries = {}
    for key in ('input_size', 'mean', 'std', 'classes'):
        if key in metadata:
            try:
                entries[key] = json.loads(metadata[key])
            except (ValueError, RecursionError):
                entries[key] = metadata[key]
    facts = facts_of_entries(entries, classes)
    return facts._replace(notes=(*notes, *facts.notes))


def facts_of_entries(meta: Mapping[str, Any], classes: int = 0) -> Facts:
    """What entries say.

    - Size: ``input_size``, ``[height, width]`` or one number, or CenterNet's ``input_h`` and ``input_w``, or
      ``input_res``.
    - Normalization: ``normalization`` (as ``--normalization`` takes it), or ``mean`` and ``std`` (blue,
      green, red).
    - Class names: a list (also with the background in front), text with commas, or a dictionary from channels
      to names, or from names to channels, both from 0 or from 1.

    Args:
        meta: plain values by name.
        classes: channels of the heat map.
    """
    found, notes = [], []
    for what, keys, read in (
        ('an input size', _SIZES, _size),
        ('a normalization in blue, green, red', _NORMALIZATIONS, _normalization),
        (f'{classes} different class names', _NAMES, lambda place: _class_names(place, classes)),
    ):
        values = (read(place) for place in _places(meta))
        found.append(next((value for value in values if value is not None), None))
        given = [key for place in _places(meta) for key in keys if place.get(key) not in (-1, None)]
        if given and found[-1] is None and (keys is not _NAMES or classes):
            notes.append(f'the entry {given[0]} is ignored: it is not understood as {what}')
    return Facts(32, None, *found, tuple(notes))


def _places(meta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The entries, and the options among them."""
    yield meta
    for name in _OPTIONS:
        if isinstance(meta.get(name), dict):
            yield meta[name]


def _size(place: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
    given = place.get('input_size')
    if not isinstance(given, list):
        given = [given] * 2
    sizes = [given[-2:]] if len(given) in (2, 3, 4) else []  # also [N, 3, H, W]
    for size in sizes + [[place.get('input_h'), place.get('input_w')], [place.get('input_res')] * 2]:
        if all(type(side) is int and 0 < side <= LARGEST_SIDE for side in size):
            return tuple(size)
    return None


def _normalization(place: Mapping[str, Any]) -> Optional[Normalization]:
    named = place.get('normalization')
    if isinstance(named, str):
        with contextlib.suppress(OptionError):
            return parse_normalization(named)
    if isinstance(named, list) and len(named) == 2:
        named = dict(zip(('mean', 'std'), named))
    for numbers in (named, place):
        found = isinstance(numbers, dict) and of_numbers(numbers.get('mean'), numbers.get('std'))
        if found:
            return found
    return None


def _class_names(place: Mapping[str, Any], classes: int) -> Optional[Tuple[str, ...]]:
    for key in _NAMES:
        names = place.get(key)
        if isinstance(names, str):
            names = [name.strip() for name in names.split(',')]
        if isinstance(names, dict):
            names = _by_channel(names)
        if isinstance(names, list) and all(isinstance(name, str) and name for name in names):
            if len(names) == classes + 1 and names[0].lower() in _BACKGROUND:
                names = names[1:]
            if len(names) == classes == len(set(names)):
                return tuple(names)
    return None


def _by_channel(names: Mapping[Any, Any]) -> Optional[List[Any]]:
    pairs = [(key, name) if isinstance(name, str) else (name, key) for key, name in names.items()]
    with contextlib.suppress(KeyError, TypeError, ValueError):
        numbered = {int(channel): name for channel, name in pairs}
        first = min(numbered)
        if first in (0, 1):
            return [numbered[channel] for channel in range(first, first + len(numbered))]
    return None
