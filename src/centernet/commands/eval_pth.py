"""``centernet eval-pth``: a checkpoint's COCO figures and timings."""

import json
import sys

from ..device import apply_threads, available_cpus, prepare_threads, resolve_device
from . import flags

NAME = 'eval-pth'
HELP = 'evaluate a checkpoint: the twelve COCO figures and the timings'
DESCRIPTION = '''Evaluate a checkpoint on a data set in COCO's format.

Prints the twelve COCO figures and how long each stage takes, and writes results.json (detections in COCO's results
format), metrics.json (figures, AP by class, times, and what made them) and journal.jsonl (the finished images, for
--resume) into the output folder. Without --weights and --data the built-in sample is evaluated.

Exit status: 0 done; 1 done, but images could not be read; 2 something given is wrong; 130 or 143 ended by Ctrl-C or
SIGTERM, to be continued with --resume.'''


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    flags.add_network_flags(parser)
    flags.add_data_flags(parser)
    protocol = parser.add_argument_group('protocol')
    protocol.add_argument('--keep-res', action='store_true', help="keep each image's size, padded, instead of fitting it into the "
                          "network's input")
    protocol.add_argument('--flip-test', action='store_true', help='average with the mirrored image')
    protocol.add_argument('--test-scales', type=flags.parse_scales, default=(1.0,), metavar='LIST',
                          help='resize the image by each of these factors and join the detections with soft-NMS, e.g. '
                          '0.5,0.75,1,1.25,1.5 (default: 1)')
    protocol.add_argument('--nms', action='store_true', help='soft-NMS also at a single scale')
    flags.add_loading_flags(parser)
    output = parser.add_argument_group('output')
    flags.add_output_flag(output)
    output.add_argument('--resume', action='store_true', help='go on with the interrupted run in the output folder; settings that '
                        'change the detections must be the same')
    output.add_argument('--on-bad-image', choices=('fail', 'skip'), default='fail', help='an image that cannot be read is named and '
                        'left out; the exit status is then 1 (fail, the default) or 0 (skip)')
    output.add_argument('--save-images', type=int, default=0, metavar='N', help='draw the detections of the first N images beside '
                        'their ground truth, into images/ of the output folder')
    output.add_argument('--json', action='store_true', help='print what metrics.json holds, instead of text')
    output.add_argument('--no-progress', action='store_true', help='no progress bar')


def run(arguments):
    """Evaluate; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from ..evaluation import EvalOptions, Interrupted, TorchRunner, evaluate, format_report
    from ..files import ensure_folder
    from .inputs import input_spec, load_inputs
    apply_threads(threads)
    device = resolve_device(arguments.device)
    ensure_folder(arguments.output)
    loaded, weights, data = load_inputs(arguments)
    spec = input_spec(arguments, loaded)
    batch_size, workers = default_loading(device.type, spec)
    options = EvalOptions(
        input=spec, flip_test=arguments.flip_test, test_scales=arguments.test_scales, nms=arguments.nms,
        image_ids=arguments.ids, limit=arguments.limit,
        batch_size=batch_size if arguments.batch_size is None else arguments.batch_size,
        workers=workers if arguments.workers is None else arguments.workers,
        on_bad_image=arguments.on_bad_image, save_images=arguments.save_images)
    runner = TorchRunner.of_checkpoint(loaded, device, weights, threads=threads, adapt_threads=arguments.threads is None)
    say = sys.stderr if arguments.json else sys.stdout
    print(_headline(loaded, weights, data, runner.describe(), options), file=say)
    try:
        found = evaluate(runner, data, options, arguments.output, resume=arguments.resume, progress=not arguments.no_progress)
    except Interrupted as error:
        print('centernet: {}'.format(error), file=sys.stderr)
        if isinstance(error.__cause__, KeyboardInterrupt):
            return 130
        return error.__cause__.code if isinstance(error.__cause__, SystemExit) else 1
    print(format_report(found.metrics, found.timings, found.failed), file=say)
    print('\n'.join(['', 'written:'] + ['  ' + path for path in found.files]), file=say)
    if arguments.json:
        json.dump(found.document, sys.stdout, indent=2)
        print()
    return found.exit_status


def default_loading(device_type, spec):
    """(batch size, workers) for a device and an input size.

    On a GPU 8 images at once fill it, and up to 4 processes keep up with it. On a CPU the network itself uses the cores: a batch
    only pays while images are small, up to as many pixels as one of 512 x 512 has, and one process loads ahead.
    """
    cpus = available_cpus()
    if device_type == 'cuda':
        return 8, min(4, max(1, cpus))
    pixels = 512 * 512 if spec.keep_res else spec.height * spec.width
    return max(1, min(16, 512 * 512 // pixels)), 0 if cpus == 1 else 1


def _headline(loaded, weights, data, about, options):
    epoch = '' if loaded.checkpoint.epoch is None else ', epoch {}'.format(loaded.checkpoint.epoch)
    lines = ['network: {} ({}{})'.format(loaded.arch, weights, epoch), 'data: {}'.format(data.annotations)]
    if loaded.unused_keys:
        lines.append('{} entries of the checkpoint are not used: {}'.format(len(loaded.unused_keys), _shorten(loaded.unused_keys)))
    spec = options.input
    protocol = ["the image's own size" if spec.keep_res else '{} x {}'.format(spec.width, spec.height)]
    if options.test_scales != (1.0,):
        protocol.append('scales ' + ' '.join('{:g}'.format(scale) for scale in options.test_scales))
    if options.flip_test:
        protocol.append('flip test')
    if options.nms or len(options.test_scales) > 1:
        protocol.append('soft-NMS')
    lines.append('input: ' + ', '.join(protocol))
    where = '{} ({})'.format(about['device'], about['device_name'])
    if 'threads' in about:
        where += ', {}{} thread{}'.format('at most ' if 'batches_by_threads' in about else '', about['threads'],
                                          '' if about['threads'] == 1 else 's')
    lines.append('on {}, batches of {}, {} loader process{}\n'.format(
        where, options.batch_size, options.workers or 'no', '' if options.workers == 1 else 'es'))
    return '\n'.join(lines)


def _shorten(names, most=3):
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
