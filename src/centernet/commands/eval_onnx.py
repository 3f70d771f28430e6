"""``centernet eval-onnx``: an ONNX file's COCO figures and timings."""

from ..device import apply_threads, prepare_threads
from . import options
from .eval_shared import describe_options, read_options, run_evaluation

NAME = 'eval-onnx'
HELP = 'evaluate an ONNX file with onnxruntime, in the same way as a checkpoint'
DESCRIPTION = """Evaluate an ONNX file on a data set in COCO's format, with onnxruntime and the same loop as eval-pth.

Any file is taken that has one input, an image batch [N, 3, H, W], and the outputs hm, wh and reg. Files for ATC
(DeformableConv2D) and for TensorRT-CenterNet (DCNv2) run through a translation of these operators. Prints and writes what
eval-pth does. Without --data the built-in sample is evaluated.

Exit status: 0 done; 1 done, but images could not be read or are damaged, or a loader process died; 2 something given is
wrong; 130 or 143 ended by Ctrl-C or SIGTERM. --resume continues what was ended."""


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    parser.add_argument('model', metavar='MODEL', help='the ONNX file')
    network = parser.add_argument_group('network')
    options.add_size_flags(network, 'what the file is fixed to, else what its metadata says, else 512')
    options.add_device_flags(network)
    options.add_data_flags(parser)
    options.add_protocol_flags(parser)
    options.add_loading_flags(parser)
    options.add_run_flags(parser)


def run(arguments):
    """Evaluate; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from ..files import ensure_folder
    from ..runners.onnx_runner import OnnxRunner
    from .setup import file_input_spec, load_data

    apply_threads(threads)
    ensure_folder(arguments.output)
    runner = OnnxRunner(arguments.model, arguments.device, threads)
    data = load_data(arguments, runner.classes, arguments.model)
    spec = file_input_spec(arguments, runner)
    options = read_options(arguments, spec, runner.device_type, runner.batch_size)
    about = runner.describe()
    arch = ' ({})'.format(runner.metadata['arch']) if 'arch' in runner.metadata else ''
    headline = [f'network: {arguments.model}{arch}', f'data: {data.annotations}']
    if runner.translated:
        headline.append(
            '{} runs through its translation to {}'.format(
                runner.translated, 'standard operators' if runner.decomposed else 'DeformConv'
            )
        )
    headline.append(
        describe_options(options, dict(about, device_name='onnxruntime {}'.format(about['onnxruntime'])))
    )
    return run_evaluation(runner, data, options, arguments, '\n'.join(headline))
