"""Export a checkpoint to files: :func:`export`, which the commands and the tests use."""

import os
from typing import List, Optional, Sequence, Tuple

from ..detection import COCO, DECODED, Normalization
from ..detection.heads import ordered
from ..networks.architectures import divisor
from ..networks.checkpoint import LoadedModel
from ..system.errors import ModelError, OptionError
from ..system.files import ensure_folder
from . import passes
from .append_decoder import why_no_decoder
from .build import build
from .metadata import save
from .targets import check_options, file_name, find_target
from .trace import INPUT_NAME, trace, trace_raw


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
    step, heads, decoded = divisor(loaded.arch), ordered(loaded.heads), boxes is not None
    for what, side in zip(('height', 'width'), size):
        if side < step or side % step:
            raise OptionError(f'the input {what} must be a multiple of {step} for {loaded.arch}, not {side}')
    chosen = [] if raw else [find_target(name) for name in targets]
    if not chosen and not raw:
        raise OptionError('no target given')
    if raw and (batch is None or decoded):
        raise OptionError('--raw cannot be combined with --dynamic-batch or --with-decode')
    for name in heads:
        if name in (*DECODED, INPUT_NAME):
            raise ModelError(f'a head cannot be called {name}: that is the input or a part of boxes')
    reason = why_no_decoder(heads) if decoded else None
    if reason:
        raise OptionError(f'--with-decode: {reason}')
    for target in chosen:
        check_options(target, batch, decoded, heads)
    folder = ensure_folder(folder)
    if raw:
        graph = trace_raw(loaded.model, list(heads), batch, *size)
        return save(graph, os.path.join(folder, stem + '.onnx'), 'raw', normalization, loaded)
    traced = trace(loaded.model, list(heads), *size)
    passes.clean(traced)
    written = []
    for target in chosen:
        path = os.path.join(folder, file_name(stem, target))
        graph = build(traced, target, batch, boxes)
        written += save(graph, path, target.name, normalization, loaded, decoded)
    return written
