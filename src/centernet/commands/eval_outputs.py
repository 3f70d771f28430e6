"""``centernet eval-outputs``: the figures of a device's outputs, and what it does differently."""

import argparse
import logging
import os
from typing import Any, List, Optional, Tuple

from ..errors import DataError, OptionError
from ..files import display_path
from . import eval_shared, options, setup

_log = logging.getLogger(__name__)

NAME = 'eval-outputs'
HELP = 'evaluate the outputs of a device, and explain differences'
DESCRIPTION = """Evaluate what a device made of the inputs of centernet dump-inputs, and compare it with the
checkpoint.

FOLDER is what the tool wrote into. Its files are recognised: of ais_bench (by its summary), benchmark, msame,
trtexec (raw bindings or JSON), Polygraphy and run_device.py, in float32 or float16. Which output is hm, wh
and reg is told from names, sizes and the reference images.

  heads       the outputs of the reference images, value by value; a difference is explained in words
  detections  the resulting boxes, matched one to one
  metrics     the twelve COCO figures, beside those of the checkpoint if --weights are given (or the sample's)

Writes comparison.json, and the files of centernet eval-pth, into the output folder.

exit status: 0 the same model within the precision; 1 not the same model, or outputs are missing or damaged;
2 invalid input or options; 130 or 143 interrupted (--resume continues)"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'folder',
        nargs='?',
        metavar='FOLDER',
        default=options.default_output('outputs'),
        help='the outputs of the device (default: output/outputs)',
    )
    group = parser.add_argument_group('inputs')
    group.add_argument(
        '--manifest',
        metavar='FILE',
        default=os.path.join(options.default_output('dump-inputs'), 'manifest.json'),
        help='manifest.json of the inputs (default: output/dump-inputs/manifest.json)',
    )
    group.add_argument(
        '--order',
        type=_heads,
        metavar='LIST',
        help='which head each output is, such as hm,wh,reg (default: told from the reference images)',
    )
    group.add_argument(
        '--precision',
        choices=('auto', 'float32', 'float16'),
        default='auto',
        help='what the device may compute in; auto allows both (default: auto)',
    )
    group.add_argument(
        '--watch',
        nargs='?',
        type=options.rate,
        const=600.0,
        metavar='SECONDS',
        help='evaluate outputs as they arrive, until none has come for SECONDS (default: 600)',
    )
    group.add_argument(
        '--delete',
        action='store_true',
        help='remove outputs once they are evaluated, but those of the reference images',
    )
    network = parser.add_argument_group('checkpoint')
    options.add_weights(
        network, "the built-in sample's, if the inputs are of it; else no metrics are compared"
    )
    options.add_size(network, 'that of the manifest; another one is refused')
    options.add_normalization(network, 'that of the manifest; another one is refused')
    options.add_device(network)
    options.add_threads(network)
    network.add_argument('--no-metrics', action='store_true', help='do not evaluate the checkpoint')
    data = parser.add_argument_group('data')
    options.add_data_folder(data)
    options.add_limit(data)
    data.add_argument(
        '--ids',
        type=options.parse_ids,
        metavar='LIST',
        help='only the images with these ids: 139,285 or @FILE',
    )
    protocol = parser.add_argument_group('protocol')
    protocol.add_argument('--nms', action='store_true', help='apply soft-NMS')
    protocol.add_argument(
        '--max-detections',
        type=options.positive,
        default=100,
        metavar='N',
        help='keep the N best detections of each image; the COCO figures look at 100 (default: 100)',
    )
    options.add_loading(parser)
    eval_shared.add_run(parser, NAME)


def run(arguments: Any) -> int:
    """Evaluate and compare; returns the exit status."""
    threads = setup.start(arguments)
    from ..evaluation import EvalOptions, evaluate, format_report
    from ..files import ensure_folder, remove_file
    from ..offline.judge import (
        COMPARISON_NAME,
        document,
        foreign_line,
        format_judgement,
        judge,
        write_comparison,
    )
    from ..offline.manifest import read_manifest
    from ..offline.outputs_runner import OutputsLoader, OutputsRunner
    from ..offline.reference import read_references
    from ..report import load_run, remove_report, write_report

    manifest = read_manifest(arguments.manifest)
    references = read_references(manifest)
    _check_protocol(arguments, manifest)
    reference = _reference(arguments, manifest, threads)
    data = _data(arguments, manifest)
    chosen = EvalOptions(
        input=manifest.spec,
        nms=arguments.nms,
        max_per_image=arguments.max_detections,
        image_ids=_image_ids(arguments, manifest),
        batch_size=arguments.batch_size or 8,
        on_bad_image=arguments.on_bad_image,
        save_images=arguments.save_images,
    )
    runner = OutputsRunner(manifest, arguments.folder, arguments.order)
    loader = OutputsLoader(
        arguments.folder, runner, references, chosen.batch_size, arguments.watch, arguments.delete
    )
    if arguments.watch is None and not (loader.found.parts or loader.found.cells):
        raise DataError(_nothing_found(arguments.folder, loader.found.foreign, manifest))
    kept = (loader.found.run or {}).get('peaks', arguments.max_detections)
    if kept < arguments.max_detections:
        raise OptionError(
            f'--max-detections {arguments.max_detections}: run_device.py kept {kept} peaks of an image; run'
            f' it with --peaks {arguments.max_detections}'
        )
    folder = ensure_folder(arguments.output)
    remove_report(folder)
    comparison = os.path.join(folder, COMPARISON_NAME)
    remove_file(comparison)
    stream = setup.text_stream(arguments)
    print('\n'.join(_headline(manifest, runner, loader, data)), file=stream)
    found = evaluate(
        runner, data, chosen, folder, arguments.resume, progress=not arguments.no_progress, load=loader
    )
    if arguments.watch is not None:
        print('\n'.join(_roles(loader)), file=stream)
    print(format_report(found.metrics, found.timings, found.failed), file=stream)
    print(file=stream)
    for line in foreign_line(loader.found.foreign, arguments.folder):
        _log.warning('%s', line)
    checkpoint = None
    if reference is not None:
        ids = tuple(image_id for image_id in chosen.image_ids if image_id not in found.failed)
        checkpoint = evaluate(
            reference,
            data,
            chosen._replace(
                image_ids=ids, save_images=0, on_bad_image='fail', workers=arguments.workers or 0
            ),
            os.path.join(folder, 'reference'),
            resume=True,
            progress=not arguments.no_progress,
        ).metrics
    judgement = judge(loader, references, found, checkpoint, arguments.precision)
    print(format_judgement(judgement, references), file=stream)
    print(file=stream)
    files = [*found.files, write_comparison(folder, judgement)]
    if arguments.report:
        where = (arguments.data, arguments.annotations, arguments.images)
        folders = [folder] if checkpoint is None else [os.path.join(folder, 'reference'), folder]
        files += write_report(folder, *(load_run(item, *where) for item in folders))
    setup.print_files(files, stream)
    if arguments.json:
        setup.print_json(dict(found.document, comparison=document(judgement)))
    return found.exit_status or (0 if judgement else 1)


def _heads(text: str) -> Tuple[str, ...]:
    return tuple(name.strip() for name in text.split(','))


def _check_protocol(arguments: Any, manifest: Any) -> None:
    """Refuse an input that differs from the manifest's."""
    from ..detection.normalization import parse_normalization

    spec, shown = manifest.spec, display_path(manifest.path)
    for side in ('height', 'width'):
        given = getattr(arguments, f'input_{side}')
        if given not in (None, getattr(spec, side)):
            raise OptionError(f'--input-{side} {given}: the inputs of {shown} have {getattr(spec, side)}')
    if arguments.normalization and not parse_normalization(arguments.normalization).same(spec.normalization):
        raise OptionError(
            f'--normalization {arguments.normalization}: the inputs of {shown} have {spec.normalization}'
        )


def _reference(arguments: Any, manifest: Any, threads: int) -> Optional[Any]:
    """The runner of the checkpoint, if it is known and wanted."""
    from ..files import sha256
    from ..runners import open_runner
    from ..sample import SAMPLE_WEIGHTS

    weights = arguments.weights
    if not weights and manifest.document['network'].get('weights_sha256') == sha256(SAMPLE_WEIGHTS):
        weights = SAMPLE_WEIGHTS
    if not weights:
        if not arguments.no_metrics:
            _log.info('no --weights: the COCO figures are not compared with those of the checkpoint')
        return None
    if not os.path.exists(weights):
        raise DataError(f'no such checkpoint: {weights}')
    manifest.check_weights(sha256(weights), weights)
    if arguments.no_metrics:
        return None
    entry = manifest.document['network'].get('weights_entry')
    return open_runner(
        weights,
        arguments.device,
        threads,
        arguments.arch or manifest.document['network'].get('arch'),
        is_onnx=False,
        weights_key=arguments.weights_key or entry,
    )


def _data(arguments: Any, manifest: Any) -> Any:
    """The data set that the inputs are of, with its channels."""
    from ..coco import CocoData
    from ..offline.judge import recorded_data
    from ..sample import sample_folder

    if arguments.data or arguments.annotations:
        data = CocoData.load(arguments.data, arguments.annotations, arguments.images)
    else:
        data = recorded_data(manifest) or CocoData.load(sample_folder(arguments.output))
    manifest.check_data(data.annotations)
    channels = [category and tuple(category) for category in manifest.document['data']['channels']]
    return data.with_channels(channels)


def _image_ids(arguments: Any, manifest: Any) -> Tuple[int, ...]:
    ids = manifest.image_ids
    if arguments.ids:
        unknown = sorted(set(arguments.ids).difference(ids))
        if unknown:
            raise OptionError(f'--ids: {display_path(manifest.path)} has no image with the id {unknown[0]}')
        wanted = set(arguments.ids)
        ids = [image_id for image_id in ids if image_id in wanted]
    return tuple(ids[: arguments.limit])


def _nothing_found(folder: str, foreign: List[str], manifest: Any) -> str:
    first = manifest.files[0].stem
    if foreign:
        return (
            f'{display_path(folder)} has outputs of other inputs (such as {os.path.basename(foreign[0])};'
            f' here the first is {first}): name their manifest with --manifest'
        )
    return f'{display_path(folder)} has no outputs, such as {first}_0.bin of ais_bench'


def _headline(manifest: Any, runner: Any, loader: Any, data: Any) -> List[str]:
    document = manifest.document
    return [
        f'network: {document["network"]["arch"]}, by {display_path(manifest.path)}',
        f'data: {display_path(data.annotations)}',
        f'input: {manifest.spec.width} x {manifest.spec.height}, normalization {manifest.spec.normalization}',
        *([f'outputs: as they arrive in {display_path(loader.folder)}'] if loader.watch else _roles(loader)),
        '',
    ]


def _roles(loader: Any) -> List[str]:
    notes = loader.runner.roles.notes if loader.runner.roles else []
    return [f'outputs: {loader.found.tool}, in {display_path(loader.folder)}', *notes]
