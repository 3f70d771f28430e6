"""The programs that files are exported for: :data:`TARGETS`, the one list. To add a target, add an entry.

This imports nothing slow, so that the command line can offer the names.
"""

from collections import OrderedDict
from typing import Mapping, NamedTuple, Optional, Tuple

from ..system.errors import OptionError

#: the rules that apply to every file (:mod:`.rules`)
_COMMON_RULES = ('opset', 'operators', 'folded', 'checker')


class Target(NamedTuple):
    """What a file is exported for.

    ``name``: what users type. ``reader``: the program that reads the files. ``summary``: one line of help.
    ``suffix``: files are named ``<stem><suffix>.onnx``.
    ``spelling``: of the deformable convolution (:data:`centernet.onnxfile.deform_conv.SPELLINGS`), None for
    standard operators alone. ``opset``: the one that is written; ``opsets``: the oldest and the newest that
    the reader accepts. ``rules``: those that apply, names in :data:`centernet.exporting.rules.RULES`.
    ``outputs``: hm, wh and reg in the reader's order; other heads follow. ``only_boxes``: whether it reads
    these three alone, with wh of 2 channels.
    ``batches``: whether it reads batches other than 1; ``general``: whether it runs any network, with
    an open batch or the decoder of ``--with-decode`` as well. ``atc_script``: write ATC's command line
    beside the file.
    """

    name: str
    reader: str
    summary: str
    suffix: str
    spelling: Optional[str]
    opset: int
    opsets: Tuple[int, int]
    rules: Tuple[str, ...]
    outputs: Tuple[str, ...] = ('hm', 'wh', 'reg')
    only_boxes: bool = False
    batches: bool = True
    general: bool = False
    atc_script: bool = False


#: name -> Target
TARGETS = OrderedDict(
    (target.name, target)
    for target in (
        Target(
            name='ascend',
            reader='ATC, for Ascend processors',
            summary='ATC for Ascend: DeformableConv2D, opset 11, with the atc command line as <name>_atc.sh',
            suffix='',
            spelling='ascend',
            opset=11,  # ATC's documents name it in every release, and onnx 1.8.1 can check it
            opsets=(9, 16),
            rules=(*_COMMON_RULES, 'inputs', 'attributes', 'offsets', 'batch'),
            atc_script=True,
        ),
        Target(
            name='tensorrt',
            reader="TensorRT-CenterNet's parser",
            summary='TensorRT-CenterNet: DCNv2, opset 9, batch 1, outputs in the order hm, reg, wh',
            suffix='_tensorrt',
            spelling='tensorrt',
            opset=9,  # torch 1.0.0's, which that parser was written for
            opsets=(1, 99),
            rules=(*_COMMON_RULES, 'inputs', 'attributes', 'offsets', 'batch', 'outputs'),
            outputs=('hm', 'reg', 'wh'),
            only_boxes=True,
            batches=False,
        ),
        Target(
            name='onnx',
            reader='onnxruntime >= 1.26, TensorRT >= 10.1',
            summary='onnxruntime >= 1.26 and TensorRT >= 10.1: DeformConv, opset 19',
            suffix='_onnx',
            spelling='onnx',
            opset=19,  # the first with DeformConv
            opsets=(19, 99),
            rules=(*_COMMON_RULES, 'offsets'),
            general=True,
        ),
        Target(
            name='portable',
            reader='onnxruntime >= 1.7',
            summary='onnxruntime >= 1.7: standard operators only, opset 11',
            suffix='_portable',
            spelling=None,
            opset=11,
            opsets=(1, 13),  # onnxruntime 1.7.0 runs up to 13
            rules=_COMMON_RULES,
            general=True,
        ),
    )
)


def find_target(name: str) -> Target:
    """Return the target of that name. Raise OptionError if it is unknown."""
    if name not in TARGETS:
        raise OptionError(f"unknown target '{name}'; available targets: {', '.join(TARGETS)}")
    return TARGETS[name]


def file_name(stem: str, target: Target) -> str:
    """Return the name of a target's file."""
    return f'{stem}{target.suffix}.onnx'


def why_not(target: Target, heads: Mapping[str, int]) -> Optional[str]:
    """Why a target's reader cannot use these heads (name -> channels), or None if it can."""
    if not target.only_boxes or (sorted(heads) == ['hm', 'reg', 'wh'] and heads['wh'] == heads['reg'] == 2):
        return None
    given = ', '.join(f'{name} ({channels})' for name, channels in heads.items())
    return f'{target.reader} reads hm, wh (2) and reg (2) only; the network has {given}'


def check_options(target: Target, batch: Optional[int], with_decode: bool, heads: Mapping[str, int]) -> None:
    """Raise OptionError for options that a target does not support, or heads that it cannot use.

    Args:
        target: the target.
        batch: number of images, None for an open batch.
        with_decode: whether the decoder is appended.
        heads: name -> channels.
    """
    reason = why_not(target, heads)
    if reason:
        raise OptionError(f'target {target.name}: {reason}')
    if batch is None and not target.general:
        raise OptionError(f'{target.reader} reads files of a fixed batch: use --batch for {target.name}')
    if batch is not None and batch < 1:
        raise OptionError(f'the batch must be at least 1, not {batch}')
    if batch not in (None, 1) and not target.batches:
        raise OptionError(f'{target.reader} reads files of batch 1 only, not {batch}')
    if with_decode and not target.general:
        decoding = ' and '.join(other.name for other in TARGETS.values() if other.general)
        raise OptionError(f'--with-decode is available for the targets {decoding}, not for {target.name}')
