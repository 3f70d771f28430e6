"""``centernet eval-pth``: a checkpoint's COCO figures and timings."""

from ..device import apply_threads, prepare_threads, resolve_device
from . import options
from .eval_shared import describe_options, read_options, run_evaluation

NAME = 'eval-pth'
HELP = 'evaluate a checkpoint: the twelve COCO figures and the timings'
DESCRIPTION = """Evaluate a checkpoint on a data set in COCO's format.

Prints the twelve COCO figures and how long each stage takes, and writes results.json (detections in COCO's results
format), metrics.json (figures, AP by class, times, and what made them) and journal.jsonl (the finished images, for
--resume) into the output folder. Without --weights and --data the built-in sample is evaluated.

Exit status: 0 done; 1 done, but images could not be read or are damaged, or a loader process died; 2 something given is
wrong; 130 or 143 ended by Ctrl-C or SIGTERM. --resume continues what was ended."""


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    options.add_network_flags(parser)
    options.add_data_flags(parser)
    options.add_protocol_flags(parser)
    options.add_loading_flags(parser)
    options.add_run_flags(parser)


def run(arguments):
    """Evaluate; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from ..evaluation import TorchRunner
    from ..files import ensure_folder
    from .setup import input_spec, load_inputs

    apply_threads(threads)
    device = resolve_device(arguments.device)
    ensure_folder(arguments.output)
    loaded, weights, data = load_inputs(arguments)
    spec = input_spec(arguments, loaded)
    options = read_options(arguments, spec, device.type)
    runner = TorchRunner.of_checkpoint(loaded, device, weights, threads=threads)
    return run_evaluation(
        runner, data, options, arguments, _headline(loaded, weights, data, runner.describe(), options)
    )


def _headline(loaded, weights, data, about, options):
    epoch = '' if loaded.checkpoint.epoch is None else f', epoch {loaded.checkpoint.epoch}'
    lines = [f'network: {loaded.arch} ({weights}{epoch})', f'data: {data.annotations}']
    if loaded.unused_keys:
        lines.append(
            f'{len(loaded.unused_keys)} entries of the checkpoint are not used:'
            f' {_shorten(loaded.unused_keys)}'
        )
    return '\n'.join(lines + [describe_options(options, about)])


def _shorten(names, most=3):
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
