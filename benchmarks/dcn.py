"""The 16 deformable convolutions of DLA-34 at 512 x 512, compared with the alternatives.

    python benchmarks/dcn.py [--threads 2] [--network dla_34] [--json]

In one run, with the same number of threads, layer by layer: the compiled operator, the pure-torch reference,
plain convolutions of the same shapes, and the deformable convolutions of torchvision and onnxruntime if they
are installed. Calls take turns, and the shortest of each counts, so that other load affects all of them.
Memory is the peak of one call in a process of its own, without inputs and output.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections import OrderedDict
from typing import Callable, Dict, List

# input channels, output channels, height and width, number of layers
LAYERS = (
    (512, 256, 16, 1),
    (256, 256, 32, 1),
    (256, 128, 32, 2),
    (128, 128, 64, 2),
    (128, 64, 64, 3),
    (64, 64, 128, 7),
)
MIB = 1 << 20


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=1, help='of every implementation (default: 1)')
    parser.add_argument(
        '--repeats', type=int, default=15, help='calls of each; the shortest counts (default: 15)'
    )
    parser.add_argument(
        '--spread', type=float, default=2.0, help="the offsets' standard deviation in pixels (default: 2)"
    )
    parser.add_argument(
        '--network',
        help='an architecture, such as dla_34: its forward pass with the operator and with the reference',
    )
    parser.add_argument(
        '--processor-time',
        action='store_true',
        help='measure processor time of all threads instead of wall time; for one thread on a busy machine',
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument(
        '--memory-of', help=argparse.SUPPRESS
    )  # the process that measures one implementation's memory
    return parser.parse_args()


def make_tensors(layer, spread):
    """Return input, offset, mask, weight and bias of a layer."""
    import torch

    torch.manual_seed(0)
    channels, outputs, size, _ = layer
    return [
        torch.randn(1, channels, size, size),
        torch.randn(1, 18, size, size) * spread,
        torch.rand(1, 9, size, size),
        torch.randn(outputs, channels, 3, 3) / (3 * channels**0.5),
        torch.randn(outputs),
    ]


# Every implementation: (tensors, threads) -> a function without arguments; raises ImportError if it is not
# installed.


def ours(tensors, threads):
    from centernet.kernels import compiled
    from centernet.kernels.arguments import check_arguments

    if compiled.MISSING:
        raise ImportError(compiled.MISSING)
    shape = check_arguments(*tensors, 1, 1, 1, 1, 1)
    return lambda: compiled.deform_conv2d_compiled(*tensors, shape)


def reference(tensors, threads):
    from centernet.kernels.arguments import check_arguments
    from centernet.kernels.reference import deform_conv2d_reference

    shape = check_arguments(*tensors, 1, 1, 1, 1, 1)
    return lambda: deform_conv2d_reference(*tensors, shape)


def plain(tensors, threads):
    import torch

    input, _, _, weight, bias = tensors
    return lambda: torch.nn.functional.conv2d(input, weight, bias, padding=1)


def torchvision(tensors, threads):
    from torchvision.ops import deform_conv2d

    input, offset, mask, weight, bias = tensors
    return lambda: deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)


def onnxruntime(tensors, threads):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    input, offset, mask, weight, bias = (tensor.numpy() for tensor in tensors)
    if tuple(map(int, onnxruntime.__version__.split('.')[:2])) < (1, 25):
        raise ImportError(f'onnxruntime {onnxruntime.__version__} has no DeformConv; 1.25 or newer is needed')
    feeds = {'input': input, 'offset': offset, 'mask': mask}
    node = helper.make_node(
        'DeformConv',
        ['input', 'weight', 'offset', 'bias', 'mask'],
        ['output'],
        kernel_shape=[3, 3],
        pads=[1] * 4,
    )
    graph = helper.make_graph(
        [node],
        'deform_conv',
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in feeds.items()
        ],
        [helper.make_tensor_value_info('output', TensorProto.FLOAT, (1, len(bias), *input.shape[2:]))],
        [numpy_helper.from_array(weight, 'weight'), numpy_helper.from_array(bias, 'bias')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 19)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    return lambda: session.run(None, feeds)


IMPLEMENTATIONS = OrderedDict(
    (function.__name__, function) for function in (ours, reference, plain, torchvision, onnxruntime)
)


def measure_times(options):
    """Return per layer {implementation: shortest call in ms}, and {implementation: why it is missing}."""
    import torch

    times, missing = [], {}
    for layer in LAYERS:
        calls = OrderedDict()
        for name, prepare in IMPLEMENTATIONS.items():
            try:
                calls[name] = prepare(make_tensors(layer, options.spread), options.threads)
            except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision for another torch
                missing[name] = str(error)
        with torch.no_grad():
            shortest = take_turns(calls, options.repeats, clock_of(options))
        times.append(shortest)
    return times, missing


def clock_of(options):
    return time.process_time if options.processor_time else time.perf_counter


def take_turns(calls: Dict[str, Callable], repeats: int, clock: Callable[[], float]) -> Dict[str, float]:
    """Call the functions in turn and return the shortest time of each in ms. The first round is warm-up."""
    shortest = OrderedDict((name, float('inf')) for name in calls)
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            elapsed = (clock() - start) * 1000
            if turn:
                shortest[name] = min(shortest[name], elapsed)
    return shortest


def measure_memory(options: argparse.Namespace) -> List[float]:
    """Return the peak memory of one call in MiB, per layer, of the implementation ``options.memory_of``."""
    import torch

    prepare = IMPLEMENTATIONS[options.memory_of]
    libc, peaks = ctypes.CDLL(None), []
    with torch.no_grad():
        prepare(
            make_tensors((16, 16, 8, 1), 1), options.threads
        )()  # what is allocated once: libraries, threads
        for layer in LAYERS:
            tensors = make_tensors(layer, options.spread)
            call = prepare(tensors, options.threads)
            libc.malloc_trim(0)
            before = resident('VmRSS')
            with open('/proc/self/clear_refs', 'w') as file:
                file.write('5')  # resets the peak
            output = call()
            del output
            peaks.append((resident('VmHWM') - before) / MIB - layer[1] * layer[2] ** 2 * 4 / MIB)
    return [round(max(peak, 0), 1) for peak in peaks]


def resident(name):
    """Return a value of /proc/self/status in bytes."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ':'))


def ask_for_memory(options, name):
    """Run measure_memory in a new process; None if it fails."""
    command = [
        sys.executable,
        os.path.abspath(__file__),
        '--memory-of',
        name,
        '--threads',
        str(options.threads),
        '--spread',
        str(options.spread),
    ]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    return json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else None


def measure_network(options):
    """Return the time in ms of a forward pass at 512 x 512, with the operator and with the reference."""
    import torch

    from centernet.networks.architectures import create_model

    model = create_model(options.network, {'hm': 80, 'wh': 2, 'reg': 2}).eval()
    image = torch.randn(1, 3, 512, 512)

    def forward(choice):
        def call():
            os.environ['CENTERNET_DCN'] = choice
            model(image)

        return call

    with torch.no_grad():
        return take_turns(
            OrderedDict((choice, forward(choice)) for choice in ('compiled', 'reference')),
            max(3, options.repeats // 3),
            clock_of(options),
        )


def total(times, name):
    return sum(row[name] * layer[3] for row, layer in zip(times, LAYERS))


def show(report):
    names = list(report['layers'][0]['ms'])
    print('torch {torch}, {threads} thread(s), compiled operator: {operator}\n'.format(**report))
    heading = (
        '{:>4} {:<18}'.format('', 'layer')
        + ''.join(f'{name:>13}' for name in names)
        + '{:>14}'.format('ours / plain')
    )
    print('shortest call, ms ({} time)\n'.format(report['clock']) + heading)
    rows = [(str(row['count']) + 'x', row['layer'], row['ms']) for row in report['layers']] + [
        ('', 'all 16', report['total_ms'])
    ]
    for count, layer, times in rows:
        ratio = '{:.2f}'.format(times['ours'] / times['plain']) if 'ours' in times else '-'
        print(f'{count:>4} {layer:<18}' + ''.join(f'{times[name]:>13.2f}' for name in names) + f'{ratio:>14}')
    if 'ours' in report['total_ms']:
        print(
            '{:>4} {:<18}'.format('', 'times ours')
            + ''.join(
                '{:>13.2f}'.format(report['total_ms'][name] / report['total_ms']['ours']) for name in names
            )
        )
    print('\npeak memory without inputs and output, MiB\n' + heading[:-14])
    for row in report['layers']:
        print(
            '{:>4} {:<18}'.format(str(row['count']) + 'x', row['layer'])
            + ''.join(
                '{:>13}'.format('-' if row['mib'][name] is None else row['mib'][name]) for name in names
            )
        )
    for name, reason in report['missing'].items():
        print(f'{name} is missing: {reason}')
    if 'network' in report:
        found = report['network']
        print(
            '\n{} forward at 512x512: {:.0f} ms, with the reference {:.0f} ms, {:.2f} times as long'.format(
                found['arch'],
                found['ms']['compiled'],
                found['ms']['reference'],
                found['ms']['reference'] / found['ms']['compiled'],
            )
        )


def main() -> None:
    options = parse()
    # the convolutions of torch 1.0.0 read their number of threads from here, when torch is imported
    os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = str(options.threads)
    import torch

    from centernet.kernels import compiled

    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(measure_memory(options)))
        return
    times, missing = measure_times(options)
    memory = {name: ask_for_memory(options, name) for name in times[0]}
    report = {
        'torch': torch.__version__,
        'threads': options.threads,
        'clock': 'processor' if options.processor_time else 'wall',
        'operator': compiled.description(),
        'missing': missing,
        'layers': [
            {
                'layer': f'{layer[0]}->{layer[1]} at {layer[2]}x{layer[2]}',
                'count': layer[3],
                'ms': row,
                'mib': {name: found[index] if found else None for name, found in memory.items()},
            }
            for index, (layer, row) in enumerate(zip(LAYERS, times))
        ],
        'total_ms': {name: total(times, name) for name in times[0]},
    }
    if options.network:
        report['network'] = {'arch': options.network, 'ms': measure_network(options)}
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)


if __name__ == '__main__':
    main()
