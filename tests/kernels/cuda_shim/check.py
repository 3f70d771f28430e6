"""Run an operator that build.py compiled, and compare it with the reference: check.py LIBRARY.

Prints one line of JSON: how often each path was taken.
"""

import ctypes
import importlib.util
import itertools
import json
import sys

import torch

from centernet.kernels.arguments import check_arguments
from centernet.kernels.reference import deform_conv2d_reference

CASES = [
    # batch, in, out, height, width, kernel, stride, padding, dilation, groups, deformable_groups
    (3, 4, 6, 7, 9, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    # nine channels per deformable group: one slice of eight and a partial one
    (2, 36, 4, 10, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, 4),
    (5, 6, 6, 5, 5, (1, 1), (1, 2), (2, 1), (1, 1), 3, 2),
    (2, 4, 4, 1, 1, (3, 3), (1, 1), (1, 1), (1, 1), 4, 4),
    (0, 2, 2, 3, 3, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
]
#: blocks of a launch, values that indices of 32 bits count, bytes of the column matrices
LIMITS = list(itertools.product((1, 5, 1 << 20), (2**31 - 1, 0), (1, 40000, 256 << 20)))
#: float16 rounds its column matrices and its results
TOLERANCES = {torch.float16: 4e-3, torch.float32: 1e-5, torch.float64: 1e-12}


def make(case, dtype, seed):
    """Return tensors in float64 with values of ``dtype``, the shape, and the sizes for the operator."""
    batch, channels, outputs, height, width, kernel, *pairs, groups, deformable_groups = case
    stride, padding, dilation = pairs
    torch.manual_seed(seed)
    taps = kernel[0] * kernel[1]
    axes = zip((height, width), kernel, stride, padding, dilation)
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]
    offset = torch.randn(batch, 2 * deformable_groups * taps, *size) * 3
    offset = torch.where(torch.rand_like(offset) < 1 / 3, offset.round(), offset)
    if batch:
        offset[0, 0, 0, 0] = float('nan')
    tensors = [
        torch.randn(batch, channels, height, width),
        offset,
        torch.rand(batch, deformable_groups * taps, *size),
        torch.randn(outputs, channels // groups, *kernel),
        torch.randn(outputs),
    ]
    tensors = [tensor.to(dtype).double().requires_grad_() for tensor in tensors]
    shape = check_arguments(*tensors, stride, padding, dilation, groups, deformable_groups)
    return tensors, shape, [*size, *stride, *padding, *dilation, groups, deformable_groups]


def compare(found, expected, dtype, what):
    assert found.dtype == dtype and found.shape == expected.shape, what
    if expected.numel():
        error = (found.double() - expected).abs().max().item()
        limit = TOLERANCES[dtype] * max(expected.abs().max().item(), 1)
        assert error <= limit, f'{what}: differs by {error:.1e}, more than {limit:.1e}'


def check_range(operator):
    """Sums of float16 may leave its range on the way: the weight's gradient is 81920 - 81920."""
    image, grad = torch.full((2, 1, 16, 16), 320.0), torch.ones(2, 1, 16, 16)
    grad[1] = -1
    tensors = [image, torch.zeros(2, 2, 16, 16), torch.ones(2, 1, 16, 16), torch.ones(1, 1, 1, 1), grad]
    sizes, wanted = [16, 16, 1, 1, 0, 0, 1, 1, 1, 1], [False, False, False, True, True]
    gradients = operator.backward(*[tensor.half() for tensor in tensors], sizes, wanted)
    assert [gradients[i].item() for i in (3, 4)] == [0, 0]


def main(path):
    specification = importlib.util.spec_from_file_location('operator', path)
    operator = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(operator)
    assert operator.why_no_cuda() == ''
    check_range(operator)
    library = ctypes.CDLL(path)
    limits = [
        ctypes.c_int64.in_dll(library, 'shim_' + name)
        for name in ('most_blocks', 'most_narrow', 'column_bytes')
    ]
    launches = (ctypes.c_int64 * 2).in_dll(library, 'shim_launches')
    compared = dict.fromkeys(map(str, TOLERANCES), 0)
    # torch 1.0.0 cannot multiply float16 on a CPU
    dtypes = [dtype for dtype in TOLERANCES if dtype != torch.float16 or hasattr(torch, 'bfloat16')]
    numbered = enumerate(itertools.product(CASES, dtypes, LIMITS))
    for seed, (case, dtype, chosen) in numbered:
        for limit, value in zip(limits, chosen):
            limit.value = value
        what = f'{case}, {dtype}, limits {chosen}'
        exact, shape, sizes = make(case, dtype, seed)
        tensors = [tensor.detach().to(dtype) for tensor in exact]
        expected = deform_conv2d_reference(*exact, shape)
        grad = torch.randn(expected.shape).to(dtype)
        gradients = torch.autograd.grad(expected, exact, grad.double())
        compare(operator.forward_on_gpu(*tensors, sizes), expected, dtype, what)
        without = operator.forward_on_gpu(*tensors[:4], tensors[4].new_empty(0), sizes)
        compare(without, expected - exact[4].view(1, -1, 1, 1), dtype, what + ', no bias')
        found = operator.backward(*tensors[:4], grad, sizes, [True] * 5)
        for index, (gradient, wanted) in enumerate(zip(found, gradients)):
            compare(gradient, wanted, dtype, f'{what}, gradient {index}')
            alone = [i == index for i in range(5)]
            one = operator.backward(*tensors[:4], grad, sizes, alone)
            assert [each is not None for each in one] == alone
            compare(one[index], wanted, dtype, f'{what}, gradient {index} alone')
        compared[str(dtype)] += 1
    steps = ctypes.c_int64.in_dll(library, 'shim_most_steps').value
    print(json.dumps({'compared': compared, 'narrow': launches[0], 'wide': launches[1], 'most_steps': steps}))


if __name__ == '__main__':
    main(sys.argv[1])
