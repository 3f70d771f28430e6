"""Export a checkpoint to files: :func:`export`, which the commands and the tests use."""

import os
from typing import List, Optional, Sequence, Tuple

from ..checkpoint import LoadedModel
from ..detection import COCO, DECODED, Normalization
from ..detection.heads import ordered
from ..errors import ModelError, OptionError
from ..files import ensure_folder
from ..models import divisor
from . import passes
from .append_decoder import why_no_decoder
from .atc import write_script
from .build import build
from .metadata import save
from .targets import check_options, file_name, find_target
from .trace import trace, trace_raw

#: the name of the input
INPUT_NAME = 'image'


def export(
    loaded: LoadedModel,
    folder: str,
    stem: str,
    targets: Sequence[str] = ('ascend',),
    *,
    size: Tuple[int, int] = (512, 512),
    batch: Optional[int] = 1,
    boxes: Optional[int] = None,
    raw: bool = False,
    normalization: Normalization = COCO,
) -> List[str]:
    """Export a network, one file per target.

    Args:
        loaded: the network; it is put in evaluation mode.
        folder: where the files go.
        stem: the first part of their names (:func:`.targets.file_name`). With ``raw`` the file is
            ``<stem>.onnx``.
        targets: names in :data:`.targets.TARGETS`.
        size: (height, width) of the input, in pixels.
        batch: number of images, None for an open batch.
        boxes: append the decoder for this many boxes; None keeps the heads.
        raw: write the traced graph instead of ``targets``, as the original sample does.
        normalization: of the input, for the metadata.

    Returns:
        The paths of the files that were written, in order. ATC's script follows the file that it is for.

    Raises:
        OptionError: a size or an option that the network or a target does not support.
        ModelError: the network cannot be exported.
        OutputError: the folder cannot be written.
    """
    _check_size(loaded.arch, *size)
    heads = ordered(loaded.heads)
    chosen = [] if raw else [find_target(name) for name in targets]
    if not chosen and not raw:
        raise OptionError('no target given')
    if raw and batch is None:
        raise OptionError(
            'the batch of a raw file is fixed in its nodes: use --batch instead of --dynamic-batch'
        )
    if raw and boxes is not None:
        raise OptionError('--with-decode and --raw cannot be combined')
    reserved = [name for name in heads if name in (*DECODED, INPUT_NAME)]
    if reserved:
        raise ModelError(
            f'a head cannot be called {reserved[0]} in a file: the input and the outputs of the decoder are'
            f' {", ".join((INPUT_NAME, *DECODED))}'
        )
    reason = None if boxes is None else why_no_decoder(heads)
    if reason:
        raise OptionError(f'--with-decode: {reason}')
    for target in chosen:
        check_options(target, batch, boxes is not None, heads)
    folder = ensure_folder(folder)
    if raw:
        path = os.path.join(folder, stem + '.onnx')
        graph = trace_raw(loaded.model, list(heads), batch, *size, INPUT_NAME)
        save(graph, path, 'raw', normalization, loaded)
        return [path]
    traced = trace(loaded.model, list(heads), *size, INPUT_NAME)
    passes.clean(traced)
    written = []
    for target in chosen:
        graph = build(traced, target, batch, boxes)
        path = os.path.join(folder, file_name(stem, target))
        save(graph, path, target.name, normalization, loaded, decoded=boxes is not None)
        written.append(path)
        if target.atc_script:
            written.append(write_script(path, graph))
    return written


def _check_size(arch, height, width):
    step = divisor(arch)
    for what, side in (('height', height), ('width', width)):
        if side < step or side % step:
            raise OptionError(f'the input {what} must be a multiple of {step} for {arch}, not {side}')
