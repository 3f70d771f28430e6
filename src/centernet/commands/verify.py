"""``centernet verify``: is an ONNX file the same model as its checkpoint?"""

import json
import sys

from ..device import apply_threads, available_cpus, prepare_threads, resolve_device
from . import options

NAME = 'verify'
HELP = 'prove that an ONNX file detects the same things as its checkpoint'
DESCRIPTION = """Compare an ONNX file, run by onnxruntime, with the checkpoint that it was made of, run by PyTorch.

rules       what the reader of the file (ATC, TensorRT-CenterNet, ...) refuses or would read wrongly
heads       the outputs hm, wh and reg of the first images, value by value
detections  the boxes that come of them, matched one to one
metrics     COCO's twelve figures over all images

Without --data the built-in sample's images are used: all of them where the input is small, fewer where it is large (see
--limit). Where the network has other classes than the sample, the figures of the last stage are measured against the PyTorch
model's own detections. Writes verification.json, and what the two evaluations of the last stage write, into the output folder.

Exit status: 0 the same model; 1 not the same model; 2 something given is wrong."""

#: without --data: as many images as cost this many pixels, and at least so many
_PIXELS, _LEAST = 200 * 192 * 192, 12


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    parser.add_argument('model', metavar='MODEL', help='the ONNX file')
    options.add_network_flags(parser)
    options.add_data_flags(parser)
    options.add_loading_flags(parser)
    group = parser.add_argument_group('verification')
    group.add_argument(
        '--compare-images',
        type=int,
        default=8,
        metavar='N',
        help='images of the stages heads and detections (default: 8)',
    )
    group.add_argument('--no-metrics', action='store_true', help='leave the stage metrics out')
    group.add_argument(
        '--rules',
        choices=('ascend', 'onnx', 'portable', 'tensorrt'),
        help='whose rules the file has to keep (default: what the file says)',
    )
    output = parser.add_argument_group('output')
    output.add_argument(
        '--output',
        metavar='FOLDER',
        default='./verify_result',
        help='folder for what is written (default: ./verify_result)',
    )
    output.add_argument(
        '--json', action='store_true', help='print what verification.json holds, instead of text'
    )
    output.add_argument('--no-progress', action='store_true', help='no progress bars')


def run(arguments):
    """Verify; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from ..checkpoint import load_model
    from ..errors import OptionError
    from ..evaluation import EvalOptions, Interrupted, TorchRunner
    from ..files import ensure_folder
    from ..models import divisor
    from ..runners.onnx_runner import OnnxRunner
    from ..sample import SAMPLE_WEIGHTS
    from ..verification import document, format_verification, verify
    from ..verification.summary import remove_report, write_report
    from .setup import file_input_spec, load_data

    apply_threads(threads)
    device = resolve_device(arguments.device)
    remove_report(ensure_folder(arguments.output))
    model = OnnxRunner(arguments.model, arguments.device, threads)
    if not arguments.weights and (arguments.data or arguments.annotations):
        raise OptionError(f'no --weights: give the checkpoint that {arguments.model} was made of')
    weights = arguments.weights or SAMPLE_WEIGHTS
    loaded = load_model(weights, arguments.arch)
    reference = TorchRunner.of_checkpoint(loaded, device, weights, threads=threads)
    data = load_data(arguments, None, arguments.model)
    size = loaded.checkpoint.meta.get('input_size')
    spec = file_input_spec(
        arguments,
        model,
        tuple(size) if isinstance(size, (list, tuple)) and len(size) == 2 else (512, 512),
        divisor(loaded.arch),
    )
    limit = arguments.limit
    if limit is None and not (arguments.data or arguments.annotations or arguments.ids):
        limit = min(len(data.image_ids), max(_LEAST, _PIXELS // (spec.height * spec.width)))
    options = EvalOptions(
        input=spec,
        image_ids=arguments.ids,
        limit=limit,
        batch_size=arguments.batch_size if arguments.batch_size is not None else model.batch_size or 1,
        workers=min(1, available_cpus() - 1) if arguments.workers is None else arguments.workers,
    )
    say = sys.stderr if arguments.json else sys.stdout
    print(
        f'{arguments.model} against {weights} ({loaded.arch}), input {spec.width} x {spec.height}, images of'
        f' {data.annotations}',
        file=say,
    )
    try:
        found = verify(
            reference,
            model,
            data,
            arguments.output,
            options=options,
            compare_images=arguments.compare_images,
            metrics=not arguments.no_metrics,
            target=arguments.rules,
            progress=not arguments.no_progress,
        )
    except Interrupted as error:
        if isinstance(error.__cause__, (KeyboardInterrupt, SystemExit)):
            raise error.__cause__ from None
        print(f'centernet: {error.__cause__}', file=sys.stderr)
        return 1
    content = document(found)
    path = write_report(arguments.output, content)
    if arguments.json:
        json.dump(content, sys.stdout, indent=2)
        print()
    else:
        print(f'{format_verification(found)}\n\nwritten:\n  {path}')
    return 0 if found else 1
