"""An ONNX file from the disk, not trusted: :func:`read_model`, the only way in which the package opens one.

A file may keep tensors in files beside it, by a name that it chooses. onnx 1.8.1 opens whatever the name
leads to, ``/dev/zero`` included, and onnxruntime has loaders of its own; so the tensors are loaded here, from
regular files inside the model's folder.
"""

import contextlib
import os
import warnings

import onnx
from onnx import AttributeProto, TensorProto

from ..errors import ModelError, UserError

#: a protocol buffer, and so a file and what it is loaded into, has at most this many bytes
MOST_BYTES = (1 << 31) - 1
#: of nodes and of tensors, those of subgraphs included; large detectors have some thousands
MOST_PARTS = 100000
#: graphs inside of graphs; onnxruntime's time doubles with every level
MOST_LEVELS = 8
# Tensors may share what they keep in a file (tied weights), but a small file is not to become a large model.
_MOST_SHARING = 4
#: pixels of an input's side, and images of its batch
LARGEST_SIDE, LARGEST_BATCH = 1 << 14, 1 << 10


def read_model(path) -> onnx.ModelProto:
    """Read an ONNX file, with the tensors that it keeps in files beside it. Raises as
    :func:`read_model_and_files` does."""
    return read_model_and_files(path)[0]


def read_model_and_files(path):
    """Read an ONNX file.

    Returns:
        (model, files): the onnx.ModelProto, with all its tensors, and the paths of the files beside it that
        some of them came from.

    Raises:
        ModelError: it is missing, no ONNX file, larger than one can be, or keeps tensors where it may not.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ModelError(f'there is no file {path}' if not os.path.exists(path) else f'{path} is not a file')
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise ModelError(f'{path} has {os.path.getsize(path)} bytes; an ONNX file can have 2 GiB')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # protobuf's, about bytes that it does not understand
            model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f'cannot read {path}: {error.strerror or error}') from error
    except MemoryError as error:
        raise ModelError(f'{path} is too large for the memory') from error
    except UserError:
        raise
    except Exception as error:  # protocol buffers have an error class of their own in each implementation
        raise ModelError(f'{path} is not an ONNX model ({type(error).__name__})') from error
    if not model.graph.node:
        raise ModelError(f'{path} is not an ONNX model, or an empty one')
    with damages_named(path):
        tensors = _parts(path, model)
        return model, _load_external(
            path,
            [
                tensor
                for tensor in tensors
                if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data
            ],
        )


def check_input(name, shape):
    """Raise ModelError for an input that no image has; an open side is None or a name.

    Args:
        name: of the file.
        shape: [N, 3, H, W].
    """
    limits = (LARGEST_BATCH, 3, LARGEST_SIDE, LARGEST_SIDE)
    if any(isinstance(side, int) and side > most for side, most in zip(shape, limits)):
        raise ModelError(
            f'{name}: its input {list(shape)} is larger than any image: at most {LARGEST_BATCH} images of'
            f' {LARGEST_SIDE} x {LARGEST_SIDE} pixels'
        )


@contextlib.contextmanager
def damages_named(path):
    """A block in which a model is taken apart: what goes wrong there is the file's fault, and becomes a
    ModelError that names it.

    A graph can contradict itself in more ways than there are checks here: an attribute that its operator
        needs is missing, a
    shape does not fit.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except MemoryError as error:
        raise ModelError(f'{path} asks for more memory than there is') from error
    except Exception as error:
        text = ' '.join(str(error).split())[:200]
        raise ModelError(
            '{} is damaged, or has a form that is not known here ({}{})'.format(
                path, type(error).__name__, ': ' + text if text else ''
            )
        ) from error


def _parts(path, model):
    """All tensors of a model, wherever they are.

    Raises:
        ModelError: there are more nodes or tensors than any network has.
    """
    tensors, nodes = [], 0
    graphs = [(graph, 0) for graph in [model.graph] + list(getattr(model, 'functions', ()))]
    while graphs:
        graph, level = graphs.pop()
        if level > MOST_LEVELS:
            raise ModelError(f'{path} has graphs inside of graphs, more than {MOST_LEVELS} deep')
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
    """Load the tensors that are kept in files beside the model; returns the files."""
    folder = os.path.dirname(os.path.abspath(path))
    files, total = {}, 0
    for tensor in tensors:
        said = {entry.key: entry.value for entry in tensor.external_data}
        place = _file_beside(path, folder, said.get('location', ''))
        if place not in files:
            files[place] = os.path.getsize(place)
        offset = _number(path, said.get('offset', '0'))
        length = _number(path, said['length']) if said.get('length') else max(0, files[place] - offset)
        if offset + length > files[place]:
            raise ModelError(
                f'{path}: its tensor {tensor.name[:80]!r} is bytes {offset} to {offset + length} of {place},'
                f' which has {files[place]}'
            )
        total += length
        if total > min(MOST_BYTES, _MOST_SHARING * sum(files.values())):
            raise ModelError(f'{path} has more tensors in {place} than can be loaded')
        try:
            with open(place, 'rb') as file:
                file.seek(offset)
                tensor.raw_data = file.read(length)
        except OSError as error:
            raise ModelError(
                f'cannot read {place}, which {path} keeps tensors in: {error.strerror or error}'
            ) from error
        tensor.ClearField('data_location')
        del tensor.external_data[:]
    return sorted(files)


def _file_beside(path, folder, location):
    """The path of a regular file inside the model's folder."""
    place = os.path.join(folder, location)
    if (
        not location
        or '\0' in location
        or os.path.isabs(location)
        or '..' in location.replace('\\', '/').split('/')
    ):
        raise ModelError(
            f'{path} keeps a tensor in {location[:200]!r}: only files in its own folder are read'
        )
    if os.path.realpath(place) != os.path.join(os.path.realpath(folder), os.path.normpath(location)):
        raise ModelError(
            f'{path} keeps a tensor in {location[:200]!r}, which is a link: only files in its own folder are'
            ' read'
        )
    if not os.path.isfile(place):
        raise ModelError(f'{path}: there is no file {place[:300]}, which it keeps tensors in')
    return place


def _number(path, text):
    if not (text.isdigit() and len(text) < 20):
        raise ModelError(f'{path}: {text[:80]!r} is no place in a file')
    return int(text)
