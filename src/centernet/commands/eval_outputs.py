"""Evaluate the outputs of a device, and explain differences.

Evaluate what a device made of the inputs of centernet dump-inputs, and compare it with the
checkpoint.

FOLDER is what the tool wrote into. Its files are recognised: of ais_bench (by its summary), benchmark, msame,
trtexec (raw bindings or JSON), Polygraphy and run_device.py, in float32 or float16. Names, sizes and the
reference images decide which output is hm, wh or reg.

  heads       the outputs of the reference images, value by value; a difference is explained in words
  detections  the resulting boxes, matched one to one
  metrics     the twelve COCO metrics, beside those of the checkpoint if --weights are given (or the sample's)

Writes comparison.json, and the files of centernet eval-pth, into the output folder. --resume reads again what
is still there, as it may have been replaced; with --delete, what is not there was evaluated and removed.

exit status: 0 the same model within the precision; 1 not the same model, or outputs are missing or damaged;
2 invalid input or options; 130 or 143 interrupted (--resume continues)
"""

import argparse
import logging
import os
from typing import Any, Callable, List, Optional, Tuple

from ..options.fields import add_flags, read_flags
from ..options.selection import DataOptions, Loading, Selection
from ..system.errors import DataError
from ..system.files import display_path
from . import arguments as groups
from . import setup

_log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    default = groups.default_output('outputs')
    about = f'the outputs of the device (default: {default})'
    parser.add_argument('folder', nargs='?', metavar='FOLDER', default=default, help=about)
    add = parser.add_argument_group('inputs').add_argument
    groups.add_manifest(add, 'manifest.json of the inputs')
    order = 'which head each output is, such as hm,wh,reg (default: the reference images decide)'
    add('--order', type=_heads, metavar='LIST', help=order)
    precision = 'what the device may compute in; auto allows both (default: auto)'
    add('--precision', choices=('auto', 'float32', 'float16'), default='auto', help=precision)
    watch = 'evaluate outputs as they arrive, until none has come for SECONDS (default: 600)'
    add('--watch', nargs='?', type=groups.rate, const=600.0, metavar='SECONDS', help=watch)
    delete = 'remove outputs once they are evaluated, except those of the reference images'
    add('--delete', action='store_true', help=delete)
    manifest = {'help': 'default: that of the manifest; another one is refused'}
    group = groups.add_network(
        parser,
        *groups.CHECKPOINT,
        title='checkpoint',
        weights={
            'help': "checkpoint, a .pth file (default: WEIGHTS, else the built-in sample's, if the inputs are"
            ' of it; else no metrics are compared)'
        },
        input_height=manifest,
        input_width=manifest,
        normalization=manifest,
    )
    group.add_argument('--no-metrics', action='store_true', help='do not evaluate the checkpoint')
    group = parser.add_argument_group('data')
    add_flags(group, DataOptions, *groups.FOLDERS)
    add_flags(group, Selection, 'limit', 'ids')
    groups.add_protocol(parser, 'nms', 'max_detections')
    groups.add_loading(parser)
    group = groups.add_output(parser, 'eval-outputs')
    groups.add_resume(group)
    add_flags(group, Loading, 'on_bad_image', 'save_images')
    groups.add_report(group)
    groups.add_json(group)


def run(arguments: Any) -> int:
    """Evaluate and compare; returns the exit status."""
    setup.start(arguments)
    from ..devices import judge
    from ..devices.evaluate import describe_run, evaluate_outputs, open_reference
    from ..devices.manifest import read_manifest
    from ..devices.outputs import Outputs
    from ..devices.reference import read_references
    from ..runs.present import format_score

    manifest, plan = read_manifest(arguments.manifest), setup.read_plan(arguments, arguments.folder)
    manifest.check_protocol(plan.protocol)
    checkpoint = open_reference(plan.network, manifest, not arguments.no_metrics)
    data = manifest.open_data(plan.data, arguments.output)
    outputs = Outputs(
        arguments.folder,
        manifest,
        read_references(manifest),
        arguments.order,
        plan.protocol.max_detections,
        arguments.watch,
    )
    record = describe_run(outputs, data, plan)
    if arguments.watch is None and not outputs.found.parts:
        raise DataError(_nothing_found(outputs))
    stream, spec = setup.text_stream(arguments), manifest.record.protocol.input
    lines = [
        f'network: {record.network.arch}, by {display_path(manifest.path)}',
        f'data: {display_path(data.annotations)}',
        f'input: {spec.width} x {spec.height}, normalization {spec.normalization}',
    ]
    arriving = [f'outputs: as they arrive in {display_path(outputs.folder)}']
    lines += _described(outputs) if arguments.watch is None else arriving
    print('\n'.join([*lines, '']), file=stream)
    found = evaluate_outputs(
        outputs,
        data,
        record,
        arguments.output,
        checkpoint,
        arguments.precision,
        arguments.resume,
        arguments.delete,
        not arguments.no_progress,
        _pages(arguments, checkpoint),
    )
    lines = [] if arguments.watch is None else _described(outputs)
    lines += [format_score(found.evaluation), '', judge.format_judgement(found.judgement), '']
    print('\n'.join(lines), file=stream)
    if outputs.found.foreign:
        _log.warning('%s', judge.foreign_line(outputs.found.foreign, arguments.folder))
    setup.print_files(found.files, stream)
    if arguments.json:
        setup.print_json(dict(found.evaluation.document, comparison=judge.document(found.judgement)))
    return found.exit_status


def _heads(text: str) -> Tuple[str, ...]:
    return tuple(name.strip() for name in text.split(','))


def _pages(arguments: Any, checkpoint: Any) -> Optional[Callable]:
    """What makes the page, if that is wanted: beside the checkpoint, if that is evaluated."""
    from ..devices.evaluate import REFERENCE_RUN
    from ..report import load_run, write_page_of

    def write(*run: Any) -> List[str]:
        folders = [] if checkpoint is None else [os.path.join(arguments.output, REFERENCE_RUN)]
        data = read_flags(DataOptions, arguments)
        return write_page_of(*run, [load_run(folder, data) for folder in folders])

    return write if arguments.report else None


def _nothing_found(outputs: Any) -> str:
    first, folder = outputs.manifest.files[0].stem, display_path(outputs.folder)
    if not outputs.found.foreign:
        return f'{folder} has no outputs, such as {first}_0.bin of ais_bench'
    other = os.path.basename(outputs.found.foreign[0])
    return f'{folder} has outputs of other inputs ({other}, not {first}): name their manifest with --manifest'


def _described(outputs: Any) -> List[str]:
    notes = outputs.order.notes if outputs.order else []
    return [f'outputs: {outputs.found.tool}, in {display_path(outputs.folder)}', *notes]
