"""Write inputs as files, to run them on a device.

Write the inputs of a data set as files, for a tool that runs the network on a device:

{}

Writes into the output folder:

  inputs/         one file per image (or per --batch); list files beside it
  calibration/    with --calibration, images that are not evaluated, to quantise a network
  reference/      what the checkpoint gives for the first images, and what it would give with some mistakes
  manifest.json   what all of these are; centernet eval-outputs needs it
  run_device.py   runs an .om or an engine on the images, without centernet and without inputs/

The inputs are float32 or float16 [N, 3, H, W] in C order: channels blue, green, red, normalised. Without
weights and data, the built-in sample is taken. COCO takes 3.1 MB per image, and 5.5 MB for its outputs:
--limit 500 is usual.

exit status: 0 success; 1 some images could not be read; 2 invalid input or options, or a full disk
"""

import argparse
import os
from typing import Any

from ..devices.layouts import DTYPES, INPUT_NAME, LAYOUTS
from ..options.fields import add_flags
from ..options.selection import Loading
from . import arguments as groups
from . import setup

HELP_TEXT = __doc__.format('\n'.join(f'  {layout.name:<11} {layout.summary}' for layout in LAYOUTS.values()))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    groups.add_network(parser, *groups.CHECKPOINT)
    groups.add_data(parser)
    add = parser.add_argument_group('files').add_argument
    number = {'type': groups.positive, 'metavar': 'N'}
    add('--layout', choices=tuple(LAYOUTS), default='ais', metavar='NAME', help='the tool (default: ais)')
    add('--dtype', choices=DTYPES, default='float32', help='type of the numbers (default: float32)')
    many = 'images in a file, for an engine of that batch (trtexec, polygraphy; default: 1)'
    add('--batch', default=1, help=many, **number)
    name = f"of the network's input (trtexec, polygraphy; default: {INPUT_NAME})"
    add('--input-name', default=INPUT_NAME, metavar='NAME', help=name)
    others = 'also write N images that are not evaluated, for the calibration of a quantised network'
    add('--calibration', default=0, help=others, **number)
    few = 'how many images the checkpoint is run on, to compare (default: 8)'
    add('--references', default=8, help=few, **number)
    none = 'write no inputs: run_device.py (centernet run-ais, run-trt) reads the images itself'
    add('--no-inputs', action='store_true', help=none)
    groups.add_loading(parser, 'workers')
    groups.add_shard(parser)
    group = groups.add_output(parser, 'dump-inputs', 'files')
    add_flags(group, Loading, 'on_bad_image')
    groups.add_json(group)


def run(arguments: Any) -> int:
    """Write the files; returns the exit status."""
    setup.start(arguments)
    from ..devices.dump import Dump
    from ..devices.manifest import MANIFEST_NAME
    from ..runs.plan import headline, prepare, weights_or_sample

    file = weights_or_sample(arguments.weights, arguments.data or arguments.annotations)
    plan = setup.read_plan(arguments, file)
    network, data, record = prepare(plan, arguments.output)
    chosen = Dump(
        network,
        data,
        record,
        LAYOUTS[arguments.layout],
        arguments.dtype,
        arguments.batch,
        arguments.input_name,
        arguments.calibration,
        arguments.references,
        not arguments.no_inputs,
        not arguments.no_progress,
    )
    stream = setup.text_stream(arguments)
    what = f'{len(chosen.image_ids)} images in {chosen.dtype} for {chosen.layout.name}'
    print('\n'.join([*headline(record, plan.protocol, data)[:-2], what]), file=stream)
    files = chosen.write(arguments.output)
    for image_id, why in chosen.failed.items():
        print(f'{image_id} was left out: {why}', file=stream)
    setup.print_files(files, stream)
    if arguments.json:
        setup.print_json(
            {
                'manifest': os.path.join(arguments.output, MANIFEST_NAME),
                'images': len(set(chosen.image_ids) - set(chosen.failed)),
                'failed_images': {str(image_id): why for image_id, why in chosen.failed.items()},
                'files': files,
            }
        )
    return int(bool(chosen.failed) and arguments.on_bad_image == 'fail')
