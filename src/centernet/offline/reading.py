"""Read the outputs of one input file, whatever their form, as float32 arrays [N, channels, h, w]."""

import base64
import functools
import io
import json
import os
from typing import Any, Dict, List, Mapping, Sequence, Union

import numpy as np

from ..errors import DataError
from ..files import display_path
from .manifest import Manifest
from .parts import Key, Part

#: an array of known type, or bytes of float16 or float32
Content = Union[np.ndarray, bytes]
#: Polygraphy's names of an array that is a pickle
_PICKLES = ('Tensor', 'torch.Tensor')


class BadOutput(Exception):
    """An output is missing, truncated, not of this network, or not finite; the message says which and how."""


class NotFinite(BadOutput):
    """An output has values that are infinite or NaN."""


def load(part: Part) -> Content:
    """The content of a part.

    Raises:
        BadOutput: the file is missing or damaged.
        DataError: the file has a form that is not read at all, such as pickles.
    """
    shown = display_path(part.path)
    try:
        if part.kind == 'raw':
            with open(part.path, 'rb') as file:
                return file.read()
        if part.kind == 'npy':
            return _numpy(part.path)
        if part.kind == 'trtexec':
            return _of_trtexec(part)
        return _of_polygraphy(part)
    except FileNotFoundError:
        raise BadOutput(f'{shown} is missing') from None
    except OSError as error:
        raise BadOutput(f'cannot read {shown}: {error.strerror}') from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, RecursionError):
        raise BadOutput(f'{shown} is truncated or damaged') from None


def as_head(
    part: Part,
    content: Content,
    head: str,
    images: int,
    manifest: Manifest,
    dtypes: Sequence[type] = (np.float32, np.float16),
) -> np.ndarray:
    """The output of a head, float32 [images, channels, h, w].

    Args:
        part, content: from :func:`load`; where the type is not known, the size tells it.
        head: its name.
        images: in the input file; what fills up a batch behind them is cut off.
        manifest: of the inputs.
        dtypes: that are possible.

    Raises:
        BadOutput: it has another size.
        NotFinite: it has values that are infinite or NaN.
    """
    shape = (manifest.heads[head],) + manifest.cells
    each, batch = int(np.prod(shape)), int(manifest.document['batch'])
    if isinstance(content, bytes):
        array = None
        for dtype in dtypes:
            if len(content) in (
                batch * each * np.dtype(dtype).itemsize,
                images * each * np.dtype(dtype).itemsize,
            ):
                array = np.frombuffer(content, dtype)
        if array is None:
            raise BadOutput(
                f'{display_path(part.path)} has {len(content)} bytes, but {head} {list((batch,) + shape)} has'
                f' {4 * batch * each} in float32 and {2 * batch * each} in float16'
            )
    else:
        array = content
        if array.size not in (batch * each, images * each):
            raise BadOutput(
                f'{display_path(part.path)} has {list(array.shape)} values for {head}, which is'
                f' {list((batch,) + shape)}'
            )
    array = array.reshape((-1,) + shape)[:images].astype(np.float32)
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise NotFinite(f'{display_path(part.path)} has {wrong} values of {head} that are infinite or NaN')
    return array


def fits(part: Part, images: int, manifest: Manifest) -> bool:
    """Whether a part has the size of one of the heads: a file that is still being written has not.

    Args:
        part: of an input file.
        images: in that file.
        manifest: of the inputs.
    """
    try:
        content = load(part)
    except BadOutput:
        return False
    for head in manifest.heads:
        try:
            as_head(part, content, head, images, manifest)
            return True
        except NotFinite:
            return True
        except BadOutput:
            continue
    return False


def read_heads(
    parts: Mapping[Key, Part], order: Mapping[Key, str], position: int, manifest: Manifest
) -> 'Dict[str, np.ndarray]':
    """The heads of an input file, name -> float32 [images, channels, h, w].

    Args:
        parts: the outputs of that file.
        order: which output is which head.
        position: of the file in the manifest.
        manifest: of the inputs.

    Raises:
        BadOutput: one of them is missing, or as :func:`as_head`.
    """
    file = manifest.files[position]
    heads = {}
    for key, head in order.items():
        if key not in parts:
            raise BadOutput(f'{describe_key(key)} of {file.stem}, {head}, is missing')
        heads[head] = as_head(parts[key], load(parts[key]), head, len(file.images), manifest)
    further = [key for key in parts if key not in order]
    if further:
        raise BadOutput(f'{file.stem} has an output too many ({describe_key(further[0])})')
    return heads


def read_cells(path: str, order: Sequence[str], hm_fill: float, manifest: Manifest) -> Dict[str, np.ndarray]:
    """The heads of one image from a file of run_device.py, which has the cells around the best peaks alone.

    Args:
        path: the file: float32 [n, 3 + channels of the other outputs]; class, cell, hm, and the others'
            values at that cell.
        order: the other heads in the order of the outputs.
        hm_fill: hm elsewhere.
        manifest: of the inputs.

    Returns:
        name -> float32 [1, channels, h, w].

    Raises:
        BadOutput: it is damaged, or of another network.
    """
    shown = display_path(path)
    try:
        rows = _numpy(path)
    except (OSError, ValueError, EOFError):
        raise BadOutput(f'{shown} is truncated or damaged') from None
    height, width = manifest.cells
    channels = [manifest.heads[head] for head in order]
    if rows.ndim != 2 or rows.shape[1] != 3 + sum(channels) or not len(rows):
        raise BadOutput(f'{shown} has {list(rows.shape)} values, not {3 + sum(channels)} per cell')
    wrong = rows.size - int(np.isfinite(rows).sum())
    if wrong:
        raise BadOutput(f'{shown} has {wrong} values that are infinite or NaN')
    classes, cells = (rows[:, column].astype(np.int64) for column in (0, 1))
    if (
        min(classes.min(), cells.min()) < 0
        or classes.max() >= manifest.heads['hm']
        or cells.max() >= height * width
    ):
        raise BadOutput(f'{shown} has cells or classes that this network does not have')
    heads = {'hm': np.full((1, manifest.heads['hm'], height, width), hm_fill, np.float32)}
    heads['hm'][0].reshape(-1)[classes * height * width + cells] = rows[:, 2]
    start = 3
    for head, count in zip(order, channels):
        plane = np.zeros((1, count, height * width), np.float32)
        plane[0][:, cells] = rows[:, start : start + count].T
        heads[head] = plane.reshape(1, count, height, width)
        start += count
    return heads


def describe_key(key: Key) -> str:
    """An output for people."""
    return f'output number {key}' if isinstance(key, int) else f'output {key}'


def _numpy(path: str) -> np.ndarray:
    """An array of a file in numpy's format. Raise ValueError for pickles, and for what is no float."""
    with open(path, 'rb') as file:
        array = np.load(io.BytesIO(file.read()), allow_pickle=False)
    return _floats(array)


def _floats(array: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
        raise ValueError('not an array of floating-point numbers')
    return array


# trtexec


def trtexec_names(path: str) -> List[str]:
    """The outputs in trtexec's JSON. Raise DataError for a file that is something else."""
    try:
        return [str(entry['name']) for entry in _json(path, os.path.getmtime(path)) if 'values' in entry]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f'{display_path(path)} is not what trtexec --exportOutput writes') from None


def _of_trtexec(part: Part) -> np.ndarray:
    for entry in _json(part.path, os.path.getmtime(part.path)):
        if entry['name'] == part.key:
            shape = [int(side) for side in str(entry['dimensions']).split('x')]
            return np.array(entry['values'], np.float32).reshape(shape)
    raise BadOutput(f'{display_path(part.path)} has no output {part.key}')


# Polygraphy


def polygraphy_runs(path: str) -> List[List[str]]:
    """The names of the outputs of each result in Polygraphy's JSON.

    Raises:
        DataError: it is damaged, has results of several runners, or pickles.
    """
    try:
        return [[str(name) for name in result['outputs']] for result in _results(path)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise DataError(
            f'{display_path(path)} is truncated, or not what polygraphy run --save-outputs writes'
        ) from None


def _results(path: str) -> List[Dict[str, Any]]:
    runners = _json(path, os.path.getmtime(path))['lst']
    if len(runners) != 1:
        raise DataError(
            f'{display_path(path)} has results of {len(runners)} runners: save those of one, with'
            ' polygraphy run MODEL --trt --save-outputs FILE'
        )
    return runners[0][1]


def _of_polygraphy(part: Part) -> np.ndarray:
    value = _results(part.path)[part.run]['outputs'][part.key]
    if value.get('polygraphy_class') == 'LazyArray':
        value = value['values']
    kind = value.get('polygraphy_class')
    if kind != 'ndarray':
        why = 'a pickle, which may run code' if kind in _PICKLES else 'not read'
        raise DataError(
            f'{display_path(part.path)}: {part.key} is a {kind}, {why}: save arrays, with polygraphy run'
            ' MODEL --trt --save-outputs FILE'
        )
    content = base64.b64decode(value['array'], validate=True)
    return _floats(np.load(io.BytesIO(content), allow_pickle=False))


@functools.lru_cache(maxsize=1)
def _json(path: str, _changed: float) -> Any:
    """A JSON file; the last one is kept, since its outputs are read one by one."""
    with open(path, encoding='utf-8') as file:
        return json.load(file)
