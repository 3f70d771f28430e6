"""``centernet verify``: do ONNX files give what their checkpoint gives?"""

import argparse
import contextlib
import logging
import os
from typing import Any, List, Sequence

from ..device import available_cpus
from ..errors import OptionError
from ..export.targets import TARGETS
from ..files import display_path
from . import options, setup
from .model_files import exported_files, stem_of

_log = logging.getLogger(__name__)

NAME = 'verify'
HELP = 'verify that ONNX files match their checkpoint'
DESCRIPTION = """Compare ONNX files, run by ONNX Runtime, with their checkpoint, run by PyTorch.

  rules       what the file's reader (ATC, TensorRT-CenterNet, ...) rejects or misreads
  heads       the outputs hm, wh and reg of the first images, value by value
  detections  the resulting boxes, matched one to one
  metrics     the twelve COCO figures over all images

Without --data, images of the built-in sample are used: all of them if the input is small, fewer if it is
large (see --limit). If the network has other classes than the data, or there are no annotations, the figures
are measured against the PyTorch model's own detections. Writes verification.json and both evaluations into
<output>/<file name>.

exit status: 0 every file matches; 1 a file does not match; 2 invalid input or options"""

#: without --data, use as many images as have this many input pixels, but at least so many
_PIXELS, _LEAST = 200 * 192 * 192, 12


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'files',
        nargs='*',
        metavar='MODEL',
        help='ONNX files (default: those that export wrote for the checkpoint; exported first if missing)',
    )
    group = parser.add_argument_group('network')
    options.add_weights(group, "the built-in sample's")
    options.add_size(group, 'fixed by the file, else as stored, else 512')
    options.add_normalization(group)
    options.add_device(group)
    options.add_threads(group)
    options.add_data(parser)
    options.add_loading(parser)
    add_verification(parser)
    options.add_json(options.add_output(parser, NAME))


def add_verification(parser: argparse.ArgumentParser) -> None:
    """Add --compare-images, --no-metrics, --rules and --report."""
    group = parser.add_argument_group('verification')
    group.add_argument(
        '--compare-images',
        type=options.positive,
        default=8,
        metavar='N',
        help='images for the stages heads and detections (default: 8)',
    )
    group.add_argument('--no-metrics', action='store_true', help='skip the stage metrics')
    group.add_argument(
        '--rules', choices=tuple(TARGETS), help='whose rules to check (default: as stored in the file)'
    )
    options.add_report(group, ' about what differs, for each file')


def run(arguments: Any) -> int:
    """Verify; returns the exit status."""
    threads = setup.start(arguments)
    weights = setup.weights_or_sample(arguments)
    files = arguments.files or exported_files(
        arguments.weights, list(TARGETS), arguments.arch, arguments.weights_key
    )
    return verify_files(arguments, files, weights, threads, arguments.output)


def verify_files(arguments: Any, files: Sequence[str], weights: str, threads: int, output: str) -> int:
    """Verify files against one checkpoint, print the results, and write them; returns the exit status.

    Args:
        arguments: parsed options of the network, the data, loading and verification.
        files: paths of ONNX files.
        weights: path of the checkpoint.
        threads: CPU threads.
        output: a folder; each file gets one in it, and the checkpoint's own evaluation is shared.
    """
    from ..runners import open_runner
    from ..verification import document, format_verification
    from ..verification.summary import write_report

    names = [stem_of(path) for path in files]
    if len(set(names)) < len(names):
        raise OptionError('two of the files have the same name; verify them separately')
    reference = open_runner(
        weights, arguments.device, threads, arguments.arch, is_onnx=False, weights_key=arguments.weights_key
    )
    stream = setup.text_stream(arguments)
    for note in reference.notes:
        print(note, file=stream)
    shared = os.path.join(output, 'reference')
    with contextlib.suppress(FileNotFoundError):
        os.unlink(
            os.path.join(shared, 'journal.jsonl')
        )  # this run's first file makes it, the others reuse it
    data = setup.load_data(arguments, weights, reference.classes, reference.class_names, any_classes=True)
    for note in data.notes:
        print(note, file=stream)
    documents, written, same, checked = {}, [], True, set()
    for name, path in zip(names, files):
        folder = os.path.join(output, name)
        found = _verify(arguments, path, reference, data, threads, folder, shared, stream, checked)
        documents[display_path(path)] = document(found)
        written.append(write_report(folder, documents[display_path(path)]))
        if arguments.report:
            written += _report(found, shared, folder)
        print(format_verification(found), file=stream)
        print(file=stream)
        same = same and bool(found)
    setup.print_files(written, stream)
    if len(files) > 1:
        bad = [path for path, item in documents.items() if not item['same']]
        print(
            f'{len(files) - len(bad)} of {len(files)} files match {setup.display_weights(weights)}',
            file=stream,
        )
    if arguments.json:
        setup.print_json(documents)
    return 0 if same else 1


def _report(found: Any, shared: str, folder: str) -> List[str]:
    """Make the page about what differs between the checkpoint's evaluation and a file's; returns the paths.
    Where there is nothing to show, a line says why."""
    from ..report import load_run
    from ..report import write_report as write_page
    from ..verification.metrics import ANNOTATIONS

    compared = [stage.comparison for stage in found.stages if stage.name == 'metrics']
    if not compared or compared[0] is None:
        _log.info('no report: the file was not evaluated')
    elif compared[0].ground_truth != ANNOTATIONS:
        _log.info('no report: the figures are not measured against the annotations')
    else:
        return write_page(folder, load_run(shared), load_run(os.path.join(folder, 'model')))
    return []


def _verify(arguments, path, reference, data, threads, folder, shared, stream, checked):
    """Verify one file; ``checked``: the normalizations that the network's first layers were compared with."""
    from ..evaluation import EvalOptions
    from ..evaluation.eval_options import select
    from ..files import ensure_folder
    from ..report import remove_report as remove_page
    from ..runners import open_runner
    from ..verification import verify
    from ..verification.summary import remove_report

    remove_report(ensure_folder(folder))
    remove_page(folder)
    model = open_runner(path, arguments.device, threads, is_onnx=True)
    limits = model.limits._replace(
        step=reference.limits.step,
        stored=model.limits.stored or reference.limits.stored,
        normalization=reference.limits.normalization or model.limits.normalization,
    )
    spec = setup.input_spec(arguments, limits, path)
    limit = arguments.limit
    if limit is None and not (arguments.data or arguments.annotations or arguments.ids):
        limit = min(len(data.image_ids), max(_LEAST, _PIXELS // (spec.height * spec.width)))
    chosen = EvalOptions(
        input=spec,
        image_ids=arguments.ids,
        limit=limit,
        batch_size=arguments.batch_size or model.batch_size or 1,
        workers=min(1, available_cpus() - 1) if arguments.workers is None else arguments.workers,
    )
    if spec.normalization not in checked:
        setup.warn_of_normalization(reference, data, select(data, chosen), spec)
        checked.add(spec.normalization)
    fed = ', '.join(setup.describe_input(arguments, limits, spec))
    print(f'{display_path(path)} against {setup.display_weights(reference.path)}, input {fed}', file=stream)
    return verify(
        reference,
        model,
        data,
        folder,
        options=chosen,
        compare_images=arguments.compare_images,
        metrics=not arguments.no_metrics,
        target=arguments.rules,
        progress=not arguments.no_progress,
        reference_folder=shared,
    )
