"""``centernet eval-pth``: a checkpoint's COCO figures and timings."""

from ..device import apply_threads, available_cpus, prepare_threads, resolve_device
from . import flags
from .running import describe_options, run_evaluation

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
    flags.add_protocol_flags(parser)
    flags.add_loading_flags(parser)
    flags.add_run_flags(parser)


def run(arguments):
    """Evaluate; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from ..evaluation import EvalOptions, TorchRunner
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
    return run_evaluation(runner, data, options, arguments, _headline(loaded, weights, data, runner.describe(), options))


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
    return '\n'.join(lines + [describe_options(options, about)])


def _shorten(names, most=3):
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
