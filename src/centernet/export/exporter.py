"""Export a checkpoint to files: :func:`export`, which the commands and the tests use."""

import os
from typing import List, Optional, Sequence, Tuple

from ..checkpoint import LoadedModel
from ..detection import HEADS
from ..errors import ModelError, OptionError
from ..files import ensure_folder
from ..models import divisor
from . import passes
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

    Returns:
        The paths of the files that were written, in order. ATC's script follows the file that it is for.

    Raises:
        OptionError: a size or an option that the network or a target does not support.
        ModelError: the network cannot be exported.
        OutputError: the folder cannot be written.
    """
    _check_network(loaded, *size)
    chosen = [] if raw else [find_target(name) for name in targets]
    if not chosen and not raw:
        raise OptionError('no target given')
    if raw and batch is None:
        raise OptionError(
            'the batch of a raw file is fixed in its nodes: use --batch instead of --dynamic-batch'
        )
    if raw and boxes is not None:
        raise OptionError('--with-decode and --raw cannot be combined')
    for target in chosen:
        check_options(target, batch, boxes is not None)
    folder = ensure_folder(folder)
    if raw:
        path = os.path.join(folder, stem + '.onnx')
        save(trace_raw(loaded.model, HEADS, batch, *size, INPUT_NAME), path, 'raw', loaded)
        return [path]
    traced = trace(loaded.model, HEADS, *size, INPUT_NAME)
    passes.clean(traced)
    written = []
    for target in chosen:
        graph = build(traced, target, batch, boxes)
        path = os.path.join(folder, file_name(stem, target))
        save(graph, path, target.name, loaded, decoded=boxes is not None)
        written.append(path)
        if target.atc_script:
            written.append(write_script(path, graph))
    return written


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
