"""``centernet dump-inputs``: a data set as files for a device's tool."""

import argparse
import os
from typing import Any

from ..errors import OptionError
from ..files import display_path
from ..offline.layouts import DTYPES, INPUT_NAME, LAYOUTS
from . import eval_shared, options, setup

NAME = 'dump-inputs'
HELP = 'write inputs as files, to run them on a device'
DESCRIPTION = """Write the inputs of a data set as files, for a tool that runs the network on a device:

{}

Writes into the output folder:

  inputs/         one file per image (or per --batch); list files beside it
  calibration/    with --calibration, images that are not evaluated, to quantise a network
  reference/      what the checkpoint gives for the first images, and what it would give with some mistakes
  manifest.json   what all of these are; centernet eval-outputs needs it
  run_device.py   runs an .om or an engine on the images, without centernet and without inputs/

The inputs are float32 or float16 [N, 3, H, W] in C order: channels blue, green, red, normalised. Says how
much space it takes before it starts. Without weights and data, the built-in sample is taken. COCO takes
3.1 MB per image, and 5.5 MB for its outputs: --limit 500 is usual.

exit status: 0 success; 1 some images could not be read; 2 invalid input or options, or too little space"""
DESCRIPTION = DESCRIPTION.format(
    '\n'.join(f'  {layout.name:<11} {layout.summary}' for layout in LAYOUTS.values())
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    network = parser.add_argument_group('network')
    options.add_weights(network, "the built-in sample's")
    options.add_size(network, 'as stored in the checkpoint, else 512')
    options.add_normalization(network)
    options.add_device(network)
    options.add_threads(network)
    options.add_data(parser)
    group = parser.add_argument_group('files')
    group.add_argument(
        '--layout', choices=tuple(LAYOUTS), default='ais', metavar='NAME', help='the tool (default: ais)'
    )
    group.add_argument(
        '--dtype', choices=DTYPES, default='float32', help='type of the numbers (default: float32)'
    )
    group.add_argument(
        '--batch',
        type=options.positive,
        default=1,
        metavar='N',
        help='images in a file, for an engine of that batch (trtexec, polygraphy; default: 1)',
    )
    group.add_argument(
        '--input-name',
        default=INPUT_NAME,
        metavar='NAME',
        help=f"of the network's input (trtexec, polygraphy; default: {INPUT_NAME})",
    )
    group.add_argument(
        '--calibration',
        type=options.positive,
        default=0,
        metavar='N',
        help='also write N images that are not evaluated, for the calibration of a quantised network',
    )
    group.add_argument(
        '--references',
        type=options.positive,
        default=8,
        metavar='N',
        help='how many images the checkpoint is run on, to compare (default: 8)',
    )
    group.add_argument(
        '--no-inputs',
        action='store_true',
        help='write no inputs: run_device.py (centernet run-ais, run-trt) reads the images itself',
    )
    group.add_argument(
        '--workers',
        type=options.not_negative,
        metavar='N',
        help='processes that load images; 0 loads between files (default: chosen for the cores)',
    )
    options.add_shard(parser)
    group = options.add_output(parser, NAME, 'files')
    eval_shared.add_on_bad_image(group, 'images')
    options.add_json(group)


def run(arguments: Any) -> int:
    """Write the files; returns the exit status."""
    setup.start(arguments)
    from ..checkpoint import load_model
    from ..detection.heads import why_no_boxes
    from ..device import available_cpus, resolve_device
    from ..offline.dump import dump
    from ..offline.planning import DumpOptions, check_space, describe_bytes, plan
    from ..runners.class_names import class_names
    from ..runners.input_limits import limits_of

    weights = setup.weights_or_sample(arguments)
    device = resolve_device(arguments.device)
    loaded = load_model(weights, arguments.arch, weights_key=arguments.weights_key)
    reason = why_no_boxes(loaded.heads)
    if reason:
        raise OptionError(f'{weights} has no boxes to evaluate: {reason}')
    classes = loaded.heads['hm']
    data = setup.load_data(arguments, weights, classes, class_names(loaded.checkpoint.meta, classes))
    limits = limits_of(loaded)
    chosen = DumpOptions(
        layout=LAYOUTS[arguments.layout],
        spec=setup.input_spec(arguments, limits, weights),
        dtype=arguments.dtype,
        batch=arguments.batch,
        input_name=arguments.input_name,
        image_ids=arguments.ids,
        limit=arguments.limit,
        shard=setup.chosen_shard(arguments),
        calibration=arguments.calibration,
        references=arguments.references,
        inputs=not arguments.no_inputs,
        workers=min(1, available_cpus() - 1) if arguments.workers is None else arguments.workers,
    )
    planned = plan(loaded, data, chosen)
    stream = setup.text_stream(arguments)
    free = check_space(planned, arguments.output)
    lines = [
        f'network: {loaded.arch} ({setup.display_weights(weights)})',
        f'data: {display_path(data.annotations)}',
        *data.notes,
        *loaded.notes,
        f'input: {", ".join(setup.describe_input(arguments, limits, chosen.spec))}',
        f'{len(planned.image_ids)} images in {chosen.dtype} for {chosen.layout.name}:'
        f' {describe_bytes(planned.bytes)} ({describe_bytes(free)} free); their outputs will take'
        f' {describe_bytes(planned.outputs)} in float32',
    ]
    print('\n'.join(lines), file=stream)
    found = dump(loaded, device, data, chosen, planned, arguments.output, progress=not arguments.no_progress)
    for image_id, why in found.failed.items():
        print(f'{image_id} was left out: {why}', file=stream)
    setup.print_files(found.files, stream)
    if arguments.json:
        setup.print_json(
            {
                'manifest': os.path.join(arguments.output, 'manifest.json'),
                'images': len(planned.image_ids) - len(set(found.failed) & set(planned.image_ids)),
                'failed_images': {str(image_id): why for image_id, why in found.failed.items()},
                'bytes': planned.bytes,
                'files': found.files,
            }
        )
    return 1 if found.failed and arguments.on_bad_image == 'fail' else 0
