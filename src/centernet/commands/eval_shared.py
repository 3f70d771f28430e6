"""What eval-pth and eval-onnx share: everything but which file is evaluated."""

import argparse
from typing import Any, Dict, List, Sequence, Tuple

from ..errors import OptionError
from ..files import display_path
from ..precision import FP32
from . import options, setup

DESCRIPTION = """
Prints the twelve COCO figures and the time of each stage. Writes into the output folder:

  results.json    detections in COCO's results format
  metrics.json    figures, AP by class, times, and what made them
  journal.jsonl   the finished images, for --resume
  report.html     with --report: curves, errors and pictures on a page (see centernet report)

Without --data, the built-in sample is evaluated.

exit status: 0 success; 1 some images could not be read, or a loader process died; 2 invalid input or options;
130 or 143 interrupted (--resume continues)"""


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options that both commands have, after those of the network."""
    options.add_data(parser)
    add_protocol(parser)
    options.add_loading(parser)
    options.add_dask(options.add_shard(parser))
    add_run(parser, command)


def run(arguments: Any, path: str, threads: int, is_onnx: bool) -> Any:
    """Evaluate a file and print the results as text; returns the Evaluation.

    Args:
        arguments: parsed options.
        path: a checkpoint or an ONNX file.
        threads: CPU threads (:func:`.setup.start`).
        is_onnx: whether it is an ONNX file.
    """
    from ..evaluation import evaluate, format_report
    from ..evaluation.eval_options import select
    from ..report import make_run, remove_report, write_report

    stream = setup.text_stream(arguments)
    if arguments.dask:
        from . import dask_run

        found, data = dask_run.evaluate(arguments, path, is_onnx)
    else:
        runner, data, chosen = prepare(arguments, path, threads, is_onnx)
        lines = headline(arguments, runner, display_path(data.annotations), data.notes, chosen)
        print('\n'.join(lines), file=stream)
        setup.warn_of_normalization(runner, data, select(data, chosen), chosen.input)
        remove_report(arguments.output)
        found = evaluate(
            runner,
            data,
            chosen,
            arguments.output,
            resume=arguments.resume,
            progress=not arguments.no_progress,
        )
    print(format_report(found.metrics, found.timings, found.failed), file=stream)
    print(file=stream)
    files = list(found.files)
    if arguments.report:
        files += write_report(arguments.output, make_run(found, data, arguments.output))
    setup.print_files(files, stream)
    return found


def prepare(arguments: Any, path: str, threads: int, is_onnx: bool) -> Tuple[Any, Any, Any]:
    """Open a file's network and the data for it; returns the runner, the data set and the EvalOptions.

    Args:
        arguments, path, threads, is_onnx: as for :func:`run`.
    """
    from ..runners import open_runner

    runner = open_runner(
        path,
        arguments.device,
        threads,
        getattr(arguments, 'arch', None),
        is_onnx,
        getattr(arguments, 'weights_key', None),
        getattr(arguments, 'precision', FP32),
    )
    if runner.no_boxes:
        raise OptionError(f'{runner.path} has no boxes to evaluate: {runner.no_boxes}')
    data = setup.load_data(arguments, runner.path, runner.classes, runner.class_names)
    return runner, data, eval_options(arguments, runner)


def finish(arguments: Any, found: Any) -> int:
    """Print an Evaluation as JSON, if that is wanted; returns the exit status."""
    if arguments.json:
        setup.print_json(found.document)
    return found.exit_status


def eval_options(arguments: Any, runner: Any) -> Any:
    """The EvalOptions that the options ask for; what they leave open is chosen for the device and the
    input."""
    from ..evaluation import EvalOptions
    from ..evaluation.eval_options import default_loading

    spec = setup.input_spec(arguments, runner.limits, runner.path)
    batch_size, workers = default_loading(runner.device_type, spec)
    return EvalOptions(
        input=spec,
        flip_test=arguments.flip_test,
        test_scales=arguments.test_scales,
        nms=arguments.nms,
        max_per_image=arguments.max_detections,
        image_ids=getattr(arguments, 'ids', None),
        limit=getattr(arguments, 'limit', None),
        shard=setup.chosen_shard(arguments),
        batch_size=arguments.batch_size or runner.batch_size or batch_size,
        workers=workers if arguments.workers is None else arguments.workers,
        on_bad_image=arguments.on_bad_image,
        save_images=getattr(arguments, 'save_images', 0),
    )


def add_protocol(parser: argparse.ArgumentParser, figures: str = '; the COCO figures look at 100') -> None:
    """Add --keep-res, --flip-test, --test-scales, --nms and --max-detections; ``figures``: for its help."""
    group = parser.add_argument_group('protocol')
    group.add_argument(
        '--keep-res',
        action='store_true',
        help='keep the size of each image, padded, instead of fitting it into a fixed input',
    )
    group.add_argument('--flip-test', action='store_true', help='average with the mirrored image')
    group.add_argument(
        '--test-scales',
        type=options.parse_scales,
        default=(1.0,),
        metavar='LIST',
        help='evaluate at several scales and merge with soft-NMS, such as 0.5,0.75,1,1.25,1.5 (default: 1)',
    )
    group.add_argument('--nms', action='store_true', help='apply soft-NMS at a single scale, too')
    group.add_argument(
        '--max-detections',
        type=options.positive,
        default=100,
        metavar='N',
        help=f'keep the N best detections of each image{figures} (default: 100)',
    )


def add_run(parser: argparse.ArgumentParser, command: str) -> None:
    """Add --output, --resume, --on-bad-image, --save-images, --report, --json and --no-progress."""
    group = options.add_output(parser, command)
    group.add_argument(
        '--resume',
        action='store_true',
        help='resume an interrupted run; options that change the detections must be the same',
    )
    add_on_bad_image(group, 'images')
    group.add_argument(
        '--save-images',
        type=options.not_negative,
        default=0,
        metavar='N',
        help='draw the detections of the first N images beside the ground truth, into <output>/images'
        ' (default: 0)',
    )
    options.add_report(group)
    options.add_json(group)


def add_on_bad_image(group: Any, what: str) -> None:
    """Add --on-bad-image."""
    group.add_argument(
        '--on-bad-image',
        choices=('fail', 'skip'),
        default='fail',
        help=f'{what} that cannot be read are reported and left out; the exit status is 1 (fail) or 0 (skip)'
        ' (default: fail)',
    )


def headline(arguments: Any, runner: Any, data: str, notes: Sequence[str], chosen: Any) -> List[str]:
    """The lines before the results: network, data, what was assumed, protocol and device.

    Args:
        arguments: parsed options.
        runner: the network.
        data: what it runs on.
        notes: lines about the data.
        chosen: the EvalOptions.
    """
    spec = chosen.input
    protocol = setup.describe_input(arguments, runner.limits, spec)
    if chosen.test_scales != (1.0,):
        protocol.append('scales ' + ' '.join(f'{scale:g}' for scale in chosen.test_scales))
    if chosen.flip_test:
        protocol.append('flip test')
    if chosen.nms or len(chosen.test_scales) > 1:
        protocol.append('soft-NMS')
    if chosen.max_per_image != 100:
        protocol.append(f'up to {chosen.max_per_image} detections')
    about = runner.describe()
    epoch = '' if about.get('epoch') is None else f', epoch {about["epoch"]}'
    return [
        f'network: {runner.arch} ({setup.display_weights(runner.path)}){epoch}',
        f'data: {data}',
        *notes,
        *runner.notes,
        'input: {}'.format(', '.join(protocol)),
        _where(about, chosen),
        '',
    ]


def _where(about: Dict[str, Any], chosen) -> str:
    threads = '' if 'threads' not in about else ', {}'.format(_count(about['threads'], 'thread'))
    workers = _count(chosen.workers, 'loader process', 'es') if chosen.workers else 'no loader processes'
    name = about.get('device_name', 'unknown')
    precision = '' if about.get('precision', FP32) == FP32 else f', {about["precision"]}'
    return (
        f'device: {about["device"]} ({name}){precision}{threads}, batches of {chosen.batch_size}, {workers}'
    )


def _count(number, noun, plural='s'):
    return f'{number} {noun}{"" if number == 1 else plural}'
