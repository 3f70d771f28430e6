"""A network's class names, from what its file stores besides the weights."""

import json
from typing import Any, Dict, List, Mapping, Optional

from .recorded import places

#: entries that hold names
_KEYS = ('classes', 'class_names', 'names', 'CLASSES')
_BACKGROUND = ('__background__', 'background', '_background_')


def class_names(meta: Mapping[str, Any], count: int) -> Optional[List[str]]:
    """Return the class names in a checkpoint's entries or its training's options, by channel.

    Args:
        meta: the entries. Names are a list (also with the background in front), text with commas, or a
            dictionary from channels to names, or from names to channels, both from 0 or from 1.
        count: channels of the heat map.

    Returns:
        ``count`` different names, or None if there are no such.
    """
    for entries in places(meta):
        for key in _KEYS:
            names = _as_list(entries.get(key), count)
            if names is not None:
                return names
    return None


def note_on_names(meta: Mapping[str, Any], count: int) -> List[str]:
    """A line about an entry that should hold names and is not understood; none otherwise."""
    found = [key for entries in places(meta) for key in _KEYS if key in entries]
    if not found or class_names(meta, count) is not None:
        return []
    return [f'the entry {found[0]} is ignored: it does not give {count} different class names']


def class_names_of_metadata(metadata: Mapping[str, str], count: int) -> Optional[List[str]]:
    """Return the class names in an ONNX file's metadata, where ``classes`` is a JSON list."""
    try:
        return class_names({'classes': json.loads(metadata.get('classes', ''))}, count)
    except (ValueError, RecursionError):
        return None


def _as_list(names: Any, count: int) -> Optional[List[str]]:
    if isinstance(names, str):
        names = [name.strip() for name in names.split(',')]
    if isinstance(names, dict):
        names = _by_index(names, count) or _by_index(
            {str(place): name for name, place in names.items()}, count
        )
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return None
    if len(names) == count + 1 and names[0].lower() in _BACKGROUND:
        names = names[1:]
    return list(names) if len(names) == count == len(set(names)) else None


def _by_index(names: Dict[Any, Any], count: int) -> Optional[List[Any]]:
    by_text = {str(key): name for key, name in names.items()}
    for first in (0, 1):
        places_of = [str(place) for place in range(first, first + count)]
        if set(by_text) == set(places_of):
            return [by_text[place] for place in places_of]
    return None
