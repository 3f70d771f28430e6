"""Find the outputs of a device in a folder, whichever tool wrote them.

Known are, in this order:

- ais_bench: ``<name>_summary.json``, which maps inputs to outputs, beside the folder of the outputs;
- run_device.py: ``run.json`` and ``<stem>.cells.npy``, with ``<stem>_<number>.npy`` for the references;
- ais_bench without its summary, benchmark and msame: ``<stem>_<number>.bin`` or ``.npy``, and
  ``<stem>_output_<number>.bin``, numbered from 0 or from 1;
- trtexec: ``<stem>/<tensor>.output.<dimensions>.<type>.raw``, or ``<stem>.json``;
- Polygraphy: JSON files, whose results are in the order of the inputs.
"""

import collections
import json
import os
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..errors import DataError
from ..files import display_path
from .manifest import Manifest
from .parts import Found, Key, Part
from .reading import polygraphy_runs, trtexec_names

RUN_NAME = 'run.json'
_NUMBERED = re.compile(r'^(?P<stem>.+?)_(?:output_)?(?P<number>\d+)\.(?P<kind>bin|npy|txt)$')
_RAW = re.compile(r'^(?P<tensor>.+)\.output\.(?P<dims>[\d.x]+)\.\w+\.raw$')
_CELLS = '.cells.npy'
# folders below the given one that are searched: device<n>, times, and trtexec's one per image
_DEPTH = 2


def find_outputs(folder: str, manifest: Manifest, growing: bool = False) -> Found:
    """Find the outputs in a folder; it may be empty.

    Args:
        folder: what the tool was told to write into, or the folder of the files in it.
        manifest: of the inputs.
        growing: whether the device still writes. A summary, which comes last, is then not waited for.

    Raises:
        DataError: there is no such folder, the summary is damaged or of other inputs, or the files have a
            form that cannot be judged.
    """
    if not os.path.isdir(folder):
        raise DataError(f'no such folder of outputs: {display_path(folder)}')
    stems = {file.stem: position for position, file in enumerate(manifest.files)}
    if not growing:
        found = _by_summary(folder, stems)
        if found is not None:
            return found
    files = list(_files(folder))
    run = _run_of(folder, manifest)
    if run is not None:
        return _of_run(run, files, stems)
    for find in (_numbered, _bindings, _json):
        found = find(files, stems, manifest)
        if found is not None and (found.parts or found.foreign):
            return found
    return Found('nothing', {}, {}, [path for path, _ in files])


def _files(folder: str) -> Iterator[Tuple[str, str]]:
    """(path, name) of every file, sorted, in the folder and those below it."""
    start = os.path.abspath(folder).count(os.sep)
    for parent, folders, names in os.walk(folder):
        folders.sort()
        if os.path.abspath(parent).count(os.sep) - start >= _DEPTH:
            folders[:] = []
        for name in sorted(names):
            yield os.path.join(parent, name), name


# ais_bench


def _by_summary(folder: str, stems: Dict[str, int]) -> Optional[Found]:
    summaries = [path for path, name in _files(folder) if name.endswith('summary.json')]
    beside = os.path.abspath(folder) + '_summary.json'
    if not summaries and os.path.isfile(beside):
        summaries = [beside]
    parts, foreign, count = collections.defaultdict(dict), [], 0
    for path in summaries:
        for entry in _filesinfo(path):
            count += 1
            stem = os.path.basename(entry['infiles'][0]).split('.')[0]
            if stem not in stems:
                foreign.append(entry['infiles'][0])
                continue
            for output in entry['outfiles']:
                place = _located(output, path)
                match = _NUMBERED.match(os.path.basename(place))
                if match is None:
                    raise DataError(f'{display_path(path)}: {output} has no number of an output')
                _refuse_text(match, place)
                number = int(match.group('number'))
                _add(parts[stems[stem]], Part(place, _kind(match), number))
    if not count:
        return None
    if not parts:
        raise DataError(
            f'{display_path(summaries[0])} is of a run on other inputs ({foreign[0]}): name their manifest'
            ' with --manifest'
        )
    return Found('ais_bench, by its summary', dict(parts), {}, foreign)


def _filesinfo(path: str) -> List[Dict[str, Any]]:
    """The entries of a summary; none for a file that is something else."""
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        entries = list(content['filesinfo'].values()) if 'filesinfo' in content else []
        for entry in entries:
            if not all(
                isinstance(entry[key], list) and all(isinstance(name, str) for name in entry[key])
                for key in ('infiles', 'outfiles')
            ):
                raise TypeError(path)
        return [entry for entry in entries if entry['infiles']]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(
            f'{display_path(path)} is damaged: remove it to go by the names of the files'
        ) from None


def _located(output: str, summary: str) -> str:
    """The path of an output here; the summary has that of the device."""
    folder, name = os.path.split(os.path.abspath(summary))
    own = re.sub(r'_?summary\.json$', '', name)
    base, parent = os.path.basename(output), os.path.basename(os.path.dirname(output))
    places = [os.path.join(folder, *words, base) for words in ((own,), (own, parent), (parent,), ())]
    return next((place for place in places if os.path.isfile(place)), places[0])


# names with the number of the output


def _numbered(files, stems: Dict[str, int], _manifest: Manifest) -> Optional[Found]:
    matches = [(path, _NUMBERED.match(name)) for path, name in files]
    matches = [(path, match) for path, match in matches if match]
    if not matches:
        return None
    parts, foreign = collections.defaultdict(dict), []
    for path, match in matches:
        _refuse_text(match, path)
        if match.group('stem') not in stems:
            foreign.append(path)
            continue
        number = int(match.group('number'))
        _add(parts[stems[match.group('stem')]], Part(path, _kind(match), number))
    first = min((number for some in parts.values() for number in some), default=0)
    if first:
        parts = {
            position: {number - first: part._replace(key=number - first) for number, part in some.items()}
            for position, some in parts.items()
        }
    known = {path for path, _ in matches}
    others = [path for path, name in files if path not in known and name.endswith(('.bin', '.npy', '.raw'))]
    tool = f'files numbered from {first}'
    return Found(tool, dict(parts), {}, foreign + others)


def _add(parts: Dict[Key, Part], part: Part) -> None:
    """Add an output of an input file. Raise DataError if there is another one of that number."""
    other = parts.setdefault(part.key, part)
    if other.path != part.path:
        raise DataError(
            f'{display_path(other.path)} and {display_path(part.path)} are the same output of two runs:'
            ' name the folder of one'
        )


def _kind(match) -> str:
    return 'npy' if match.group('kind') == 'npy' else 'raw'


def _refuse_text(match, path: str) -> None:
    if match.group('kind') == 'txt':
        raise DataError(
            f'{display_path(path)} is text with six decimals, too coarse to be judged: run ais_bench with'
            ' --outfmt BIN'
        )


# run_device.py


def _run_of(folder: str, manifest: Manifest) -> Optional[Dict[str, Any]]:
    path = os.path.join(folder, RUN_NAME)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding='utf-8') as file:
            run = json.load(file)
        recorded = run['manifest_sha256']
        if not isinstance(run['outputs'], list) or not all(
            isinstance(run[key], int) for key in ('hm', 'peaks')
        ):
            raise TypeError(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f'{display_path(path)} is damaged: run run_device.py again') from None
    if recorded != manifest.sha256:
        raise DataError(
            f'{display_path(path)} is of a run with another manifest: name that one with --manifest, or run'
            ' again'
        )
    return run


def _of_run(run: Dict[str, Any], files, stems: Dict[str, int]) -> Found:
    cells, foreign = {}, []
    for path, name in files:
        if name.endswith(_CELLS):
            stem = name[: -len(_CELLS)]
            if stem in stems:
                cells[stems[stem]] = path
            else:
                foreign.append(path)
    numbered = [(path, name) for path, name in files if not name.endswith(_CELLS) and name != RUN_NAME]
    whole = _numbered(numbered, stems, None)
    parts = whole.parts if whole else {}
    names = [str(name) for name in run['outputs']]
    if set(names) & {'hm', 'wh', 'reg'}:  # an engine knows the names of its outputs
        parts = {
            position: {
                names[key]: part._replace(key=names[key]) for key, part in some.items() if key < len(names)
            }
            for position, some in parts.items()
        }
    return Found('run_device.py', parts, cells, foreign + (whole.foreign if whole else []), run)


# trtexec and Polygraphy


def _bindings(files, stems: Dict[str, int], manifest: Manifest) -> Optional[Found]:
    parts, foreign, any_raw = collections.defaultdict(dict), [], False
    for path, name in files:
        if not name.endswith('.raw'):
            continue
        any_raw = True
        match = _RAW.match(name)
        stem = os.path.basename(os.path.dirname(path))
        position = stems.get(stem, 0 if len(stems) == 1 else None)
        if match and position is not None:
            _add(parts[position], Part(path, 'raw', match.group('tensor')))
        elif '.input.' not in name:
            foreign.append(path)
    return Found("trtexec's raw bindings", dict(parts), {}, foreign) if any_raw else None


def _json(files, stems: Dict[str, int], manifest: Manifest) -> Optional[Found]:
    parts, foreign, tools, runs, names = {}, [], set(), [], []
    for path, name in files:
        if not name.endswith('.json'):
            continue
        begin = _beginning(path)
        stem = name.split('.')[0]
        position = stems.get(stem, stems.get(os.path.basename(os.path.dirname(path))))
        if begin.startswith('{"lst"'):
            tools.add('Polygraphy')
            runs.append(path)
        elif begin.startswith('[') and position is not None:
            tools.add("trtexec's JSON")
            names = names or trtexec_names(path)
            parts[position] = {key: Part(path, 'trtexec', key) for key in names}
        else:
            foreign.append(path)
    if runs:
        position = 0
        for path in runs:
            for run, keys in enumerate(polygraphy_runs(path)):
                if position < len(manifest.files):
                    parts[position] = {key: Part(path, 'polygraphy', key, run) for key in keys}
                else:
                    foreign.append(f'{path}, result {run + 1}')
                position += 1
        if position != len(manifest.files):
            raise DataError(
                f'Polygraphy knows results by their order alone, and here are {position} for'
                f' {len(manifest.files)} input files: run all of inputs/ in one call, in the order of names'
            )
    if len(tools) > 1:
        raise DataError('these outputs are of trtexec and of Polygraphy: put each into a folder of its own')
    return Found(tools.pop() if tools else 'nothing', parts, {}, foreign)


def _beginning(path: str) -> str:
    with open(path, 'rb') as file:
        return re.sub(r'\s', '', file.read(64).decode('latin-1'))
