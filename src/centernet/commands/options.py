"""Flags that have the same names and meanings in every command."""

import argparse

#: the default of --output, where the sample that this project continues wrote its results
DEFAULT_OUTPUT = './pth_result'
#: where fetch puts checkpoints and data, and reproduce looks for them
DEFAULT_MODELS, DEFAULT_DATA = './models', './data/coco'


def add_network_flags(parser):
    """--weights --arch --input-height --input-width --device --threads"""
    group = parser.add_argument_group('network')
    add_weights_flags(group, 'without it and without --data, the built-in sample')
    add_size_flags(group, 'what the checkpoint says, else 512')
    add_device_flags(group)


def add_weights_flags(group, without):
    """--weights --arch; ``without`` says what happens without --weights."""
    group.add_argument('--weights', metavar='FILE', help=f'checkpoint (.pth); {without}')
    group.add_argument(
        '--arch',
        metavar='NAME',
        help=(
            'architecture, e.g. dla_34, resdcn_18, res_18, hourglass (default: what the '
            'checkpoint says, else dla_34)'
        ),
    )


def add_size_flags(group, default):
    """--input-height --input-width; ``default`` says what they are where they are not given."""
    group.add_argument(
        '--input-height',
        type=int,
        metavar='PIXELS',
        help=f"height of the network's input (default: {default})",
    )
    group.add_argument('--input-width', type=int, metavar='PIXELS', help='width, likewise')


def add_device_flags(group):
    """--device --threads"""
    add_device_flag(group)
    add_threads_flag(group)


def add_device_flag(group):
    """--device"""
    group.add_argument(
        '--device',
        default='auto',
        metavar='NAME',
        help='auto, cpu, cuda or cuda:N (default: auto, a GPU if one can be used)',
    )


def add_threads_flag(group):
    """--threads"""
    group.add_argument(
        '--threads',
        type=int,
        metavar='N',
        help=(
            'CPU threads of the network (default: as many as '
            'OMP_NUM_THREADS says, else as this process may use cores, or one while that is faster)'
        ),
    )


def add_data_flags(parser):
    """--data --annotations --images --limit --ids"""
    group = parser.add_argument_group('data')
    add_data_place_flags(group)
    group.add_argument(
        '--limit', type=int, metavar='N', help='only the first N images (of those chosen with --ids)'
    )
    group.add_argument(
        '--ids',
        type=parse_ids,
        metavar='LIST',
        help='only the images with these ids: 139,285 or @FILE with ids separated by white space or commas',
    )


def add_data_place_flags(group):
    """--data --annotations --images"""
    group.add_argument(
        '--data',
        metavar='FOLDER',
        help=(
            "data set in COCO's layout: annotations/instances_val2017.json (or a single "
            'annotations/*.json) with the images under val2017/, images/val2017/ or images/'
        ),
    )
    group.add_argument('--annotations', metavar='FILE', help='annotations file, where it lies elsewhere')
    group.add_argument('--images', metavar='FOLDER', help='folder of the images, where it lies elsewhere')


def add_protocol_flags(parser):
    """--keep-res --flip-test --test-scales --nms"""
    group = parser.add_argument_group('protocol')
    group.add_argument(
        '--keep-res',
        action='store_true',
        help="keep each image's size, padded, instead of fitting it into the network's input",
    )
    group.add_argument('--flip-test', action='store_true', help='average with the mirrored image')
    group.add_argument(
        '--test-scales',
        type=parse_scales,
        default=(1.0,),
        metavar='LIST',
        help=(
            'resize the image by each of these factors and join the detections with soft-NMS, e.g. '
            '0.5,0.75,1,1.25,1.5 (default: 1)'
        ),
    )
    group.add_argument('--nms', action='store_true', help='soft-NMS also at a single scale')


def add_loading_flags(parser):
    """--batch-size --workers"""
    group = parser.add_argument_group('speed')
    group.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help=(
            'images that go through the network together (default: chosen for the device and the input size)'
        ),
    )
    group.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help=(
            'processes that load images ahead; 0 loads between batches '
            '(default: chosen for the device and the cores)'
        ),
    )


def add_run_flags(parser):
    """--output --resume --on-bad-image --save-images --json --no-progress"""
    group = parser.add_argument_group('output')
    add_output_flag(group)
    group.add_argument(
        '--resume',
        action='store_true',
        help=(
            'go on with the interrupted run in the output folder; settings that '
            'change the detections must be the same'
        ),
    )
    group.add_argument(
        '--on-bad-image',
        choices=('fail', 'skip'),
        default='fail',
        help=(
            'an image that cannot be read is named and '
            'left out, a damaged one is named; the exit status is then 1 (fail, the default) or 0 (skip)'
        ),
    )
    group.add_argument(
        '--save-images',
        type=int,
        default=0,
        metavar='N',
        help=(
            'draw the detections of the first N images beside '
            'their ground truth, into images/ of the output folder'
        ),
    )
    group.add_argument('--json', action='store_true', help='print what metrics.json holds, instead of text')
    group.add_argument('--no-progress', action='store_true', help='no progress bar')


def add_output_flag(parser):
    """--output"""
    parser.add_argument(
        '--output',
        metavar='FOLDER',
        default=DEFAULT_OUTPUT,
        help=f'folder for what is written (default: {DEFAULT_OUTPUT})',
    )


def parse_ids(text):
    """``139,285`` or ``@file`` -> tuple of ints."""
    if text.startswith('@'):
        try:
            with open(text[1:], encoding='utf-8') as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise argparse.ArgumentTypeError(
                'cannot read the list of ids {}: {}'.format(
                    text[1:], getattr(error, 'strerror', None) or error
                )
            ) from None
    words = text.replace(',', ' ').split()
    try:
        ids = tuple(int(word) for word in words)
    except ValueError:
        raise argparse.ArgumentTypeError(
            'image ids are whole numbers such as 139,285, not {!r}'.format(
                next(word for word in words if not word.lstrip('+-').isdigit())
            )
        ) from None
    if not ids:
        raise argparse.ArgumentTypeError('the list of image ids is empty')
    return ids


def parse_scales(text):
    """``0.5,1,1.5`` -> tuple of floats."""
    try:
        return tuple(float(word) for word in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'scales are numbers such as 0.5,1,1.5, not {text!r}') from None
