"""The tools that run a network on a device, by the files that they write: :data:`TOOLS`, the one list.

:func:`find_outputs` finds the files of a folder, and :class:`Output` reads one. Which of them is which head
is another matter (:mod:`.order`).
"""

import base64
import collections
import glob
import io
import json
import os
import re
from functools import lru_cache, partial
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from ..detection.heads import HEADS
from ..system.errors import DataError
from ..system.files import display_path
from .manifest import Manifest

RUN_NAME = 'run.json'
#: the key of what run_device.py keeps of an image: the cells around its best peaks
CELLS = 'cells'
#: the name of an output, or, where a tool numbers them, its number from 0
Key = Union[str, int]
#: the tool that writes the outputs of all inputs into one file
POLYGRAPHY = 'Polygraphy'
#: types of the numbers in files that do not say it
DTYPES = (np.float32, np.float16)
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, RecursionError)


class BadOutput(Exception):
    """An output is missing, truncated, not of this network, or not finite; the message says which and how."""


def check_finite(array: np.ndarray, message: str) -> None:
    """Raise BadOutput with their number if values are infinite or NaN."""
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise BadOutput(message.format(wrong))


class Output(NamedTuple):
    """An output of one input file. ``path``: of its file. ``key``: its name or number. ``read``: returns the
    content: an array of floats, or, where the file does not say its type, uint8 [bytes]."""

    path: str
    key: Key
    read: Callable[[], np.ndarray]

    def content(self) -> np.ndarray:
        """What ``read`` gives.

        Raises:
            BadOutput: the file is missing or damaged.
            DataError: the file has a form that is not read at all, such as pickles.
        """
        shown = display_path(self.path)
        try:
            return self.read()
        except OSError as error:
            raise BadOutput(f'cannot read {shown}: {error.strerror}') from None
        except (StopIteration, *_DAMAGED):
            raise BadOutput(f'{shown} is truncated or damaged') from None

    def head(self, head: str, images: int, manifest: Manifest, dtypes: Sequence[type] = DTYPES) -> np.ndarray:
        """The content as a head, float32 [images, channels, h, w].

        Args:
            head: its name.
            images: in the input file; what fills up a batch behind them is cut off.
            manifest: of the inputs.
            dtypes: that are possible; bytes are of the last that fits their number.

        Raises:
            BadOutput: it cannot be read, has another size, or values that are infinite or NaN.
            DataError: see :meth:`content`.
        """
        content, shown = self.content(), display_path(self.path)
        batch, shape = manifest.document['batch'], (manifest.heads[head], *manifest.cells)
        each = int(np.prod(shape))
        found, has = [content], f'{list(content.shape)} values'
        if content.dtype == np.uint8:
            has = f'{content.size} bytes'
            found = [content.view(dtype) for dtype in dtypes if content.size % np.dtype(dtype).itemsize == 0]
        found = [array for array in found if array.size in (batch * each, images * each)]
        if not found:
            raise BadOutput(f'{shown} has {has}, but {head} {[batch, *shape]} has {4 * batch * each} bytes')
        array = found[-1].reshape((-1, *shape))[:images].astype(np.float32)
        check_finite(array, f'{shown} has {{}} values of {head} that are infinite or NaN')
        return array


class Tool(NamedTuple):
    """A tool, as its files show it.

    ``name``: for people. ``pattern``: of the paths. ``outputs``: the paths that match, with their matches ->
    (input file, Output), for each output in them. The input file is named by its stem, or by its position
    where the tool knows results by their order alone.
    """

    name: str
    pattern: str
    outputs: Callable[[List[Tuple[str, Any]]], Iterable[Tuple[Union[str, int], Output]]]


class Found(NamedTuple):
    """The outputs in a folder.

    ``tool``: for people. ``parts``: position of the input file -> key -> Output; the key is the name of an
    output, or its number from 0. ``foreign``: files that belong
    to none of the inputs. ``run``: run.json of run_device.py.
    """

    tool: str
    parts: Dict[int, Dict[Key, Output]]
    foreign: List[str]
    run: Optional[Dict[str, Any]] = None


# readers


def _floats(array: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
        raise ValueError('not an array of floating-point numbers')
    return array


def _bytes(path: str) -> np.ndarray:
    return np.fromfile(path, np.uint8)


def _array(path: str) -> np.ndarray:
    with open(path, 'rb') as file:
        return _floats(np.load(file, allow_pickle=False))


def _text(path: str) -> np.ndarray:
    shown = display_path(path)
    raise DataError(f'{shown} is text, too coarse to be judged: run ais_bench with --outfmt BIN')


#: by the suffix of a file with one output
_READERS = {'.bin': _bytes, '.raw': _bytes, '.npy': _array, '.txt': _text}


def _of_trtexec(path: str, key: Key) -> np.ndarray:
    entry = next(entry for entry in _json(path) if entry['name'] == key)
    return np.array(entry['values'], np.float32).reshape(list(map(int, entry['dimensions'].split('x'))))


def _of_polygraphy(path: str, run: int, key: Key) -> np.ndarray:
    value = _results(path)[run]['outputs'][key]
    value = value.get('values', value)
    if value['polygraphy_class'] in ('Tensor', 'torch.Tensor'):
        raise _not_read(path, f'{key} is a Tensor, a pickle, which may run code: save arrays')
    content = base64.b64decode(value['array'], validate=True)
    return _floats(np.load(io.BytesIO(content), allow_pickle=False))


def _results(path: str) -> List[Dict[str, Any]]:
    runners = _json(path)['lst']
    if len(runners) != 1:
        raise _not_read(path, f'has results of {len(runners)} runners: save those of one')
    return runners[0][1]


def _not_read(path: str, why: str) -> DataError:
    return DataError(f'{display_path(path)}: {why}, with polygraphy run MODEL --trt --save-outputs FILE')


def _json(path: str) -> Any:
    return _cached_json(path, os.path.getmtime(path))


@lru_cache(maxsize=1)
def _cached_json(path: str, _changed: float) -> Any:
    """A JSON file; the last one is kept, since its outputs are read one by one."""
    with open(path, encoding='utf-8') as file:
        return json.load(file)


# the outputs in files


def _by_name(files):
    """Each file has one output, and its name says which; a match without a key is of run_device.py's
    cells."""
    for path, match in files:
        key = match['key'] or CELLS
        read = _READERS[os.path.splitext(path)[1]]
        yield match['stem'], Output(path, int(key) if key.isdigit() else key, partial(read, path))


def _in_trtexec(files):
    """Each file has the outputs of an input file; the first says what they are called."""
    names = None
    for path, match in files:
        if _begins(path, '['):
            names = names or [entry['name'] for entry in _json(path) if 'values' in entry]
            for name in names:
                yield match['stem'], Output(path, name, partial(_of_trtexec, path, name))


def _in_polygraphy(files):
    """A file has the results of many input files, in their order."""
    position = 0
    for path, _ in files:
        for run, result in enumerate(_results(path) if _begins(path, '{"lst"') else []):
            for name in result['outputs']:
                yield position, Output(path, name, partial(_of_polygraphy, path, run, name))
            position += 1


def _begins(path: str, start: str) -> bool:
    with open(path, 'rb') as file:
        return re.sub(r'\s', '', file.read(64).decode('latin-1')).startswith(start)


_RUN_DEVICE = Tool('run_device.py', r'/(?P<stem>[^/]+?)(?:_(?P<key>\d+)|\.cells)\.npy$', _by_name)
#: the tools, in the order in which their files are looked for. The first is ais_bench, msame (with "output"
#: in the names) and benchmark (from 1).
TOOLS = (
    Tool('files numbered from {}', r'/(?P<stem>[^/]+?)_(?:output_)?(?P<key>\d+)\.(?:bin|npy|txt)$', _by_name),
    Tool("trtexec's raw bindings", r'/(?P<stem>[^/]+)/(?P<key>[^/]+)\.output\.[\d.x]+\.\w+\.raw$', _by_name),
    Tool(POLYGRAPHY, r'\.json$', _in_polygraphy),
    Tool("trtexec's JSON", r'/(?P<stem>[^/.]+)[^/]*\.json$', _in_trtexec),
)


def find_outputs(folder: str, manifest: Manifest, growing: bool = False) -> Found:
    """Find the outputs in a folder; it may be empty.

    Args:
        folder: what the tool was told to write into, or the folder of the files in it.
        manifest: of the inputs.
        growing: whether the device still writes. The summary of ais_bench, which comes last, is then ignored.

    Raises:
        DataError: there is no such folder, or the files are damaged, or of several runs.
    """
    if not os.path.isdir(folder):
        raise DataError(f'no such folder of outputs: {display_path(folder)}')
    start = os.path.abspath(folder)
    # folders below that are searched: device<n>, times, and trtexec's one per image
    paths = sorted(path for depth in (1, 2, 3) for path in glob.glob(glob.escape(start) + depth * '/*'))
    run = _run_of(folder, manifest)
    summaries = [path for path in [*paths, start + '_summary.json'] if path.endswith('summary.json')]
    listed = set() if growing or run else _listed(summaries)
    if listed:  # other files are of an earlier run into the same folder
        paths = [path for path in paths if os.path.basename(path) in listed]
    for tool in TOOLS if run is None else [_RUN_DEVICE]:
        matches = [(path, re.search(tool.pattern, path)) for path in paths]
        matches = [(path, match) for path, match in matches if match]
        found = _assigned(tool, matches, manifest)
        if found.parts or found.foreign:
            break
    if run is None:
        known = {path for path, _ in matches}
        others = [path for path in paths if path.endswith(('.bin', '.npy', '.raw')) and path not in known]
        found.foreign.extend(path for path in others if '.input.' not in path)
        return found._replace(tool='ais_bench, by its summary') if listed and found.parts else found
    parts, names = found.parts, dict(enumerate(map(str, run['outputs'])))
    if set(names.values()) & set(HEADS):  # an engine knows the names of its outputs, an .om does not
        parts = {
            position: {names.get(key, key): output for key, output in part.items()}
            for position, part in parts.items()
        }
    return found._replace(parts=parts, run=run)


def _assigned(tool: Tool, files: List[Tuple[str, Any]], manifest: Manifest) -> Found:
    """The outputs in a tool's files, by the position of their input file."""
    parts, foreign = collections.defaultdict(dict), []
    positions = {file.stem: position for position, file in enumerate(manifest.files)}
    try:
        for file, output in tool.outputs(files):
            position = positions.get(file, file)
            if isinstance(position, str):
                foreign.append(output.path)
                continue
            other = parts[position].setdefault(output.key, output).path
            if other != output.path:
                raise DataError(
                    f'{display_path(other)} and {display_path(output.path)} are of two runs: name one folder'
                )
    except _DAMAGED:
        folder = display_path(os.path.dirname(files[0][0]))
        raise DataError(f'{folder} has a file that is damaged, or not what {tool.name} writes') from None
    if tool.name == POLYGRAPHY and parts and len(parts) != len(positions):
        raise DataError(
            f'{tool.name} has {len(parts)} results, not {len(positions)}: run all of inputs/ in one call'
        )
    first = 0
    if tool is TOOLS[0]:
        first = min((key for part in parts.values() for key in part), default=0)
        for position, part in parts.items():
            parts[position] = {key - first: output for key, output in part.items()}
    return Found(tool.name.format(first), dict(parts), foreign)


def _listed(summaries: List[str]) -> Set[str]:
    """The names of the outputs in the summaries of ais_bench."""
    listed = set()
    for path in filter(os.path.isfile, summaries):
        try:
            entries = _json(path).get('filesinfo', {}).values()
            listed.update(os.path.basename(name) for entry in entries for name in entry['outfiles'])
        except (OSError, *_DAMAGED):
            shown = display_path(path)
            raise DataError(f'{shown} is damaged: remove it to go by the names of the files') from None
    return listed


def _run_of(folder: str, manifest: Manifest) -> Optional[Dict[str, Any]]:
    """run.json of run_device.py, if it is there."""
    path = os.path.join(folder, RUN_NAME)
    if not os.path.isfile(path):
        return None
    shown = display_path(path)
    try:
        run = _json(path)
        recorded, _, _ = run['manifest_sha256'], list(run['outputs']), int(run['peaks'])
    except (OSError, *_DAMAGED):
        raise DataError(f'{shown} is damaged: run run_device.py again') from None
    if recorded != manifest.sha256:
        raise DataError(f'{shown} was made from another manifest: name it with --manifest')
    return run
