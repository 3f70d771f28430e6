"""The cost of exporting, and the speed of the clean graph in onnxruntime.

    python benchmarks/export.py [--size 512] [--runs 20] [--arch dla_34]

First, the time and peak memory of ``centernet export`` and ``centernet modify``, each in a process of its
own. Second, the ``onnx`` target compared with a naive export of the same network: plain torch.onnx.export,
with a symbolic for DeformConv after CenterNet's own chunk and cat. The two take turns on one thread and the
same image. The figures are CPU time, to reduce the influence of other processes.

The network has random weights with offsets of about a pixel. The second part needs onnxruntime >= 1.26.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings

os.environ.setdefault('OMP_NUM_THREADS', '1')  # read when torch is imported

import numpy as np
import onnx
import onnxruntime
import torch

from centernet.exporting import passes, trace
from centernet.exporting.build import build
from centernet.exporting.targets import TARGETS
from centernet.kernels import DCN
from centernet.networks.architectures import create_model
from centernet.networks.runtimes.onnx_runtime import HAS_DEFORM_CONV
from centernet.onnxfile import graph
from centernet.onnxfile.opsets import raise_opset
from centernet.system import compat

HEADS = {'hm': 80, 'wh': 2, 'reg': 2}


def make_network(arch):
    torch.manual_seed(0)
    model = create_model(arch, HEADS).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, DCN):
            module.conv_offset_mask.weight.data.normal_(0, 0.02)
    return model


class NaiveDeformConv(torch.autograd.Function):
    """DeformConv with a simple symbolic; the values during tracing do not matter."""

    @staticmethod
    def symbolic(g, x, weight, offset, bias, mask):
        node = g.op(
            'naive::DeformConv', x, weight, offset, bias, mask, kernel_shape_i=[3, 3], pads_i=[1, 1, 1, 1]
        )
        return compat.with_channels(node, offset, bias.type().sizes()[0])

    @staticmethod
    def forward(ctx, x, weight, offset, bias, mask):
        return x.new_zeros(x.shape[0], weight.shape[0], x.shape[2], x.shape[3])


def naive_forward(self, x):
    first, second, mask = torch.chunk(self.conv_offset_mask(x), 3, dim=1)
    return NaiveDeformConv.apply(
        x, self.weight, torch.cat((first, second), dim=1), self.bias, torch.sigmoid(mask)
    )


class Tuple(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        heads = self.model(x)
        return tuple(heads[name] for name in HEADS)


def export_naively(model, size):
    modules = [module for module in model.modules() if isinstance(module, DCN)]
    for module in modules:
        module.forward = types.MethodType(naive_forward, module)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            Tuple(model).eval(),
            (torch.zeros(1, 3, size, size),),
            file,
            dynamo=False,
            opset_version=18,
            input_names=['image'],
            output_names=list(HEADS),
        )
    for module in modules:
        del module.forward
    found = graph.of_model(onnx.load_model_from_string(file.getvalue()))
    found.domains.clear()
    for node in found.nodes:
        node.domain = ''
    raise_opset(found, TARGETS['onnx'].opset)
    return found


def session_of(found):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(
        found.to_model().SerializeToString(), options, providers=['CPUExecutionProvider']
    )


def compare(model, size, runs):
    """Return CPU times in ms of the clean and the naive graph, and the largest difference of outputs."""
    clean = trace.trace(model, list(HEADS), size, size)
    passes.clean(clean)
    sessions = {
        'onnx target': session_of(build(clean, TARGETS['onnx'])),
        'naive': session_of(export_naively(model, size)),
    }
    image = np.random.RandomState(0).standard_normal((1, 3, size, size)).astype(np.float32)
    results = {name: session.run(list(HEADS), {'image': image}) for name, session in sessions.items()}  # warm
    difference = max(
        float(np.abs(one - other).max() / np.abs(other).max()) for one, other in zip(*results.values())
    )
    spent = {name: [] for name in sessions}
    for run in range(runs):
        for name, session in sorted(sessions.items(), reverse=bool(run % 2)):
            start = time.process_time()
            session.run(None, {'image': image})
            spent[name].append(1e3 * (time.process_time() - start))
    return spent, difference


def timed(words):
    """Return wall seconds and peak MiB of a ``centernet`` command in a new process."""
    start = time.time()
    code = (
        'import json, resource, sys; from centernet.cli import main; status = main(sys.argv[1:]); '
        'print(json.dumps([status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code] + words, stdout=subprocess.PIPE, universal_newlines=True
    )
    status, peak = json.loads(done.stdout.splitlines()[-1])
    if status:
        sys.exit(status)
    return time.time() - start, peak / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--arch', default='dla_34')
    parser.add_argument('--size', type=int, default=512)
    parser.add_argument('--runs', type=int, default=20)
    arguments = parser.parse_args()
    model = make_network(arguments.arch)
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, 'net.pth')
        torch.save({'arch': arguments.arch, 'state_dict': model.state_dict()}, weights)
        size = ['--input-height', str(arguments.size), '--input-width', str(arguments.size)]
        size += ['--output', folder]
        for name, words in (
            ('export --raw', ['export', '--weights', weights, '--raw'] + size),
            ('modify', ['modify', os.path.join(folder, 'net.onnx')]),
            (
                'export --target all',
                ['export', '--weights', weights, '--target', 'all', '--name', 'all'] + size,
            ),
        ):
            seconds, peak = timed(words)
            print(f'{name:<20} {seconds:6.1f} s   {peak:6.0f} MiB peak')
    if not HAS_DEFORM_CONV:
        print(f'onnxruntime {onnxruntime.__version__} has no DeformConv: the comparison is skipped')
        return
    spent, difference = compare(model, arguments.size, arguments.runs)
    for name, times in spent.items():
        print(
            f'{name:<20} {statistics.median(times):6.1f} ms (median of {len(times)}; {min(times):.1f} to'
            f' {max(times):.1f})'
        )
    ratio = statistics.median(one / other for one, other in zip(spent['onnx target'], spent['naive']))
    print(
        f'ratio {ratio:.3f} (median over the pairs of runs), outputs equal to {difference:.1g} of the largest'
    )


if __name__ == '__main__':
    main()
