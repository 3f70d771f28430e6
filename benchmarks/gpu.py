"""The operator and whole networks on a GPU, compared with the alternatives.

    python benchmarks/gpu.py [--batch 8] [--repeats 20] [--json]

In one run: the 16 deformable convolutions of DLA-34 at 512 x 512, forward, ours and torchvision's (if it is
installed) and plain convolutions of the same shapes; then images per second of whole networks with random
weights in each precision, with ours and with torchvision's operator. Calls take turns; the median of the
times between CUDA events counts. The first calls are warm-up.
"""

import argparse
import json
import statistics

import torch
from dcn import LAYERS

from centernet.kernels import compiled, deform_conv2d
from centernet.kernels.arguments import check_arguments
from centernet.kernels.precision import to_half
from centernet.networks.architectures import create_model

try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):
    torchvision_deform_conv2d = None

NETWORKS = ('dla_34', 'resdcn_18', 'res_18')
PRECISIONS = ('fp32', 'tf32', 'fp16')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=8, help='images (default: 8)')
    parser.add_argument(
        '--repeats', type=int, default=20, help='calls of each; the median counts (default: 20)'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    options = parser.parse_args()
    found = {
        'gpu': torch.cuda.get_device_name(),
        'torch': torch.__version__,
        'operator': compiled.description(),
        'batch': options.batch,
        'layers': [],
        'networks': [],
    }
    with torch.no_grad():
        for precision in PRECISIONS:
            set_tf32(precision == 'tf32')
            for layer in LAYERS:
                times = take_turns(layer_calls(layer, options.batch, precision), options.repeats)
                found['layers'].append({'precision': precision, 'layer': layer, 'ms': times})
            for name in NETWORKS:
                times = take_turns(network_calls(name, options.batch, precision), options.repeats)
                speeds = {key: 1000 * options.batch / value for key, value in times.items()}
                found['networks'].append(
                    {'precision': precision, 'network': name, 'images_per_second': speeds}
                )
    print(json.dumps(found, indent=2) if options.json else table(found))


def set_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def layer_calls(layer, batch, precision):
    torch.manual_seed(0)
    channels, outputs, size, _ = layer
    dtype = torch.float16 if precision == 'fp16' else torch.float32
    tensors = [
        torch.randn(batch, channels, size, size),
        torch.randn(batch, 18, size, size) * 2,
        torch.rand(batch, 9, size, size),
        torch.randn(outputs, channels, 3, 3) / (3 * channels**0.5),
        torch.randn(outputs),
    ]
    tensors = [tensor.to('cuda', dtype) for tensor in tensors]
    shape = check_arguments(*tensors, 1, 1, 1, 1, 1)
    input, offset, mask, weight, bias = tensors
    calls = {
        'ours': lambda: compiled.deform_conv2d_compiled(*tensors, shape),
        'plain': lambda: torch.nn.functional.conv2d(input, weight, bias, padding=1),
    }
    if torchvision_deform_conv2d is not None:
        calls['torchvision'] = lambda: torchvision_deform_conv2d(
            input, offset, weight, bias, padding=1, mask=mask
        )
    return calls


def network_calls(name, batch, precision):
    from centernet.kernels import module

    torch.manual_seed(0)
    model = create_model(name, {'hm': 80, 'wh': 2, 'reg': 2}).cuda().eval()
    images = torch.randn(batch, 3, 512, 512, device='cuda')
    if precision == 'fp16':
        model, images = to_half(model), images.half()
    calls = {'ours': lambda: model(images)}
    if torchvision_deform_conv2d is not None and name != 'res_18':

        def with_torchvision():
            module.deform_conv2d = as_torchvision
            try:
                return model(images)
            finally:
                module.deform_conv2d = deform_conv2d

        calls['torchvision'] = with_torchvision
    return calls


def as_torchvision(
    input, offset, mask, weight, bias, stride, padding, dilation, groups=1, deformable_groups=1
):
    return torchvision_deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


def take_turns(calls, repeats):
    """Return the median time of each call in ms."""
    times = {name: [] for name in calls}
    for turn in range(repeats + 5):
        for name, call in calls.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            end.synchronize()
            if turn >= 5:
                times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values) for name, values in times.items()}


def table(found):
    lines = ['{gpu}, torch {torch}, {operator}, batches of {batch}'.format(**found)]
    lines.append(
        '{:<10} {:<20} {:>9} {:>12} {:>9}'.format('precision', 'layer (ms)', 'ours', 'torchvision', 'plain')
    )
    for row in found['layers']:
        cells = [
            format(row['ms'].get(name, float('nan')), '.3f') for name in ('ours', 'torchvision', 'plain')
        ]
        name = '{} -> {}, {}'.format(*row['layer'])
        lines.append('{:<10} {:<20} {:>9} {:>12} {:>9}'.format(row['precision'], name, *cells))
    lines.append('{:<10} {:<20} {:>9} {:>12}'.format('precision', 'images per second', 'ours', 'torchvision'))
    for row in found['networks']:
        speeds = [
            format(row['images_per_second'].get(name, float('nan')), '.1f')
            for name in ('ours', 'torchvision')
        ]
        lines.append('{:<10} {:<20} {:>9} {:>12}'.format(row['precision'], row['network'], *speeds))
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
