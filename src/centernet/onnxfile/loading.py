"""Read an ONNX file without trusting it: :func:`read_model_and_files`. The package opens none otherwise.

A file may keep tensors in files beside it, under names that it chooses. onnx 1.8.1 opens whatever the name
leads to, ``/dev/zero`` included, and onnxruntime has loaders of its own. So the tensors are loaded here, from
regular files inside the model's folder.
"""

import contextlib
import os
import warnings
from typing import Iterator, List, NamedTuple, Sequence, Union

import onnx
from onnx import AttributeProto, TensorProto

from ..system.errors import ModelError, UserError

#: the limit of protocol buffers, and so of a file and of what it is loaded into, in bytes
MOST_BYTES = (1 << 31) - 1
#: limit for nodes and for tensors, those of subgraphs included; large detectors have some thousands
MOST_PARTS = 100000
#: nested graphs; onnxruntime's time doubles with every level
MOST_LEVELS = 8
# Tensors may share bytes of a file (tied weights), but a small file must not become a large model.
_MOST_SHARING = 4
#: pixels of an input's side, and images of its batch
LARGEST_SIDE, LARGEST_BATCH = 1 << 14, 1 << 10


class ModelAndFiles(NamedTuple):
    """A model with all its tensors, and the ``files`` beside it that some of them came from."""

    model: onnx.ModelProto
    files: List[str]


def read_model_and_files(path: Union[str, os.PathLike]) -> ModelAndFiles:
    """Read an ONNX file with the tensors beside it.

    Raises:
        ModelError: the file is missing, is not an ONNX model, is too large, or keeps tensors outside its
            folder.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ModelError(f'file not found: {path}' if not os.path.exists(path) else f'{path} is not a file')
    if os.path.getsize(path) > MOST_BYTES:
        raise ModelError(f'{path} has {os.path.getsize(path)} bytes; the limit of ONNX files is 2 GiB')
    with damage_named(path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # protobuf's, about bytes that it cannot parse
                model = onnx.load(path, load_external_data=False)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # each implementation of protocol buffers has its own error class
            raise ModelError(f'{path} is not an ONNX model ({type(error).__name__})') from error
        if not model.graph.node:
            raise ModelError(f'{path} is not an ONNX model, or an empty one')
        return ModelAndFiles(model, _load_external(path, _tensors(path, model)))


def check_input(name: str, shape: Sequence[Union[int, str, None]]) -> None:
    """Raise ModelError for an input that is larger than any image.

    Args:
        name: of the file.
        shape: [N, 3, H, W]; an open side is None or a name.
    """
    limits = (LARGEST_BATCH, 3, LARGEST_SIDE, LARGEST_SIDE)
    if any(isinstance(side, int) and side > most for side, most in zip(shape, limits)):
        raise ModelError(f'{name}: its input {list(shape)} is larger than any image: at most {list(limits)}')


@contextlib.contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Turn any error of the block into a ModelError that names the file.

    A graph can contradict itself in more ways than can be checked: a required attribute is missing, a shape
    does not fit.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise ModelError(f'cannot read {error.filename or path}: {error.strerror or error}') from error
    except MemoryError as error:
        raise ModelError(f'{path} needs more memory than is available') from error
    except Exception as error:
        text = ' '.join([type(error).__name__ + ':', *str(error).split()])[:200]
        raise ModelError(f'{path} is damaged, or has a form that is not supported ({text})') from error


def _tensors(path, model):
    """All tensors of a model. Raises ModelError if it has more nodes or tensors than any network."""
    tensors, nodes = [], 0
    graphs = [(graph, 0) for graph in [model.graph] + list(getattr(model, 'functions', ()))]
    while graphs:
        graph, level = graphs.pop()
        if level > MOST_LEVELS:
            raise ModelError(f'{path} has graphs nested more than {MOST_LEVELS} deep')
        nodes += len(graph.node)
        tensors += getattr(graph, 'initializer', ())
        for sparse in getattr(graph, 'sparse_initializer', ()):
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            for entry in node.attribute:
                if entry.type in (AttributeProto.TENSOR, AttributeProto.TENSORS) or entry.HasField('t'):
                    tensors += [entry.t] + list(entry.tensors)
                if entry.HasField('g'):
                    graphs.append((entry.g, level + 1))
                graphs += [(inner, level + 1) for inner in entry.graphs]
        if nodes > MOST_PARTS or len(tensors) > MOST_PARTS:
            raise ModelError(f'{path} has more than {MOST_PARTS} nodes or tensors: no network has so many')
    return tensors


def _load_external(path, tensors):
    """Load those of the tensors that are kept in files beside the model; return the files."""
    folder = os.path.realpath(os.path.dirname(path))
    files, total = {}, 0
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        external = {entry.key: entry.value for entry in tensor.external_data}
        location = external.get('location', '')
        place = os.path.join(folder, os.path.normpath(location))
        # neither a link, nor above the folder
        if '\0' in location or os.path.isabs(location) or os.path.realpath(place) != place:
            raise ModelError(f'{path} keeps a tensor in {location[:200]!r}: not a file in its folder')
        if not os.path.isfile(place):
            raise ModelError(f'{path} keeps tensors in {place[:300]}: file not found')
        size = files.setdefault(place, os.path.getsize(place))
        offset = _number(path, external.get('offset') or '0')
        length = _number(path, external.get('length') or str(max(0, size - offset)))
        if offset + length > size:
            raise ModelError(f'{path}: its tensor {tensor.name[:80]!r} is behind the end of {place}')
        total += length
        if total > min(MOST_BYTES, _MOST_SHARING * sum(files.values())):
            raise ModelError(f'{path} has more tensors in {place} than can be loaded')
        with open(place, 'rb') as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.ClearField('data_location')
        tensor.ClearField('external_data')
    return sorted(files)


def _number(path, text):
    if not (text.isdigit() and len(text) < 20):
        raise ModelError(f'{path}: {text[:80]!r} is not a position in a file')
    return int(text)
