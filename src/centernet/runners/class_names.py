"""A network's class names, from what its file stores besides the weights."""

import json
from typing import Any, Dict, List, Mapping, Optional

#: entries that hold names, in a checkpoint or in what mmcv stores as its ``meta``
_KEYS = ('classes', 'class_names', 'names', 'CLASSES')


def class_names(meta: Mapping[str, Any], count: int) -> Optional[List[str]]:
    """Return the class names in a checkpoint's entries, by channel.

    Args:
        meta: the entries. Names are a list, or a dictionary from the channel to its name.
        count: channels of the heat map.

    Returns:
        ``count`` different names, or None if there are no such.
    """
    nested = meta.get('meta')
    for entries in (meta, nested if isinstance(nested, dict) else {}):
        for key in _KEYS:
            names = _as_list(entries.get(key), count)
            if names is not None:
                return names
    return None


def class_names_of_metadata(metadata: Mapping[str, str], count: int) -> Optional[List[str]]:
    """Return the class names in an ONNX file's metadata, where ``classes`` is a JSON list."""
    try:
        return class_names({'classes': json.loads(metadata.get('classes', ''))}, count)
    except (ValueError, RecursionError):
        return None


def _as_list(names: Any, count: int) -> Optional[List[str]]:
    if isinstance(names, dict):
        names = _by_index(names, count)
    if not isinstance(names, list) or len(names) != count:
        return None
    if not all(isinstance(name, str) for name in names) or len(set(names)) < count:
        return None
    return list(names)


def _by_index(names: Dict[Any, Any], count: int) -> Optional[List[Any]]:
    by_text = {str(key): name for key, name in names.items()}
    indices = [str(index) for index in range(count)]
    return [by_text[index] for index in indices] if set(by_text) == set(indices) else None
