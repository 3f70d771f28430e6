"""A checkpoint to files: :func:`export`, which the commands and the tests use."""

import os

from ..errors import ModelError, OptionError
from ..files import ensure_folder
from ..models import divisor
from . import passes, targets
from .atc import write_script
from .metadata import PRODUCER, file_metadata, network_metadata
from .trace import trace, trace_raw

#: the name of the input
INPUT_NAME = 'image'
HEADS = ('hm', 'wh', 'reg')
#: CenterNet's ratio of input pixels to output cells
DOWN_RATIO = 4


def export(loaded, folder, stem, names=('ascend',), height=512, width=512, batch=1, decode=None, raw=False):
    """Export a network, one file per target.

    Args:
        loaded: what :func:`centernet.checkpoint.load_model` returned; its network goes into evaluation mode.
        folder, stem: files are called ``<folder>/<stem>.onnx`` for ``ascend`` and for ``raw``,
            ``<folder>/<stem>_<target>.onnx`` for the others.
        names: of the targets.
        height, width: of the input, in pixels.
        batch: images at once, None for an open batch.
        decode: append the decoder for this many boxes; None gives the heads.
        raw: write what the trace gives, in the manner of the original sample, in place of ``names``.

    Returns:
        The paths of the files that were written, in order; behind an ascend file its ATC script.

    Raises:
        OptionError: a size or an option that the network or a target cannot have.
        ModelError: the network cannot be exported.
        OutputError: the folder cannot be written.
    """
    _check_network(loaded, height, width)
    chosen = _targets(names, raw)
    if raw and batch is None:
        raise OptionError('a raw file has its batch in its nodes: give --batch in place of --dynamic-batch')
    if raw and decode is not None:
        raise OptionError('--with-decode is not for --raw')
    for target in chosen:
        targets.check_options(target, batch, decode is not None)
    folder = ensure_folder(folder)
    about = network_metadata(loaded)
    if raw:
        graph = trace_raw(loaded.model, HEADS, batch, height, width, INPUT_NAME)
        return [_save(graph, os.path.join(folder, stem + '.onnx'), about, 'raw', False)]
    traced = trace(loaded.model, HEADS, height, width, INPUT_NAME)
    passes.clean(traced)
    written = []
    for target in chosen:
        graph = targets.build(traced, target, batch, decode, DOWN_RATIO)
        path = os.path.join(folder, stem + ('' if target.name == 'ascend' else '_' + target.name) + '.onnx')
        written.append(_save(graph, path, about, target.name, decode is not None))
        if target.name == 'ascend':
            written.append(write_script(path, graph))
    return written


def _save(graph, path, about, target, decoded):
    graph.producer = PRODUCER
    graph.metadata.update(about)
    graph.metadata.update(file_metadata(graph, target, decoded, DOWN_RATIO))
    graph.save(path)
    return path


def _targets(names, raw):
    unknown = [name for name in names if name not in targets.TARGETS]
    if unknown:
        raise OptionError("unknown target '{}'; known: {}".format(unknown[0], ', '.join(targets.TARGETS)))
    if not names and not raw:
        raise OptionError('no target; known: {}'.format(', '.join(targets.TARGETS)))
    return [] if raw else [target for name, target in targets.TARGETS.items() if name in names]


def _check_network(loaded, height, width):
    missing = [name for name in HEADS if name not in loaded.heads]
    if missing:
        raise ModelError(
            'the checkpoint has no head {}, which detection (ctdet) needs; it has {}'.format(
                ' and no head '.join(missing), ', '.join(loaded.heads)
            )
        )
    step = divisor(loaded.arch)
    for what, side in (('height', height), ('width', width)):
        if side < step or side % step:
            raise OptionError(f'the input {what} must be a multiple of {step} for {loaded.arch}, not {side}')
