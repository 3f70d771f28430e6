"""Arithmetic and launch of the CUDA kernels, tested on the CPU: host and device share the functions."""

import pytest
import torch

from centernet.dcn import compiled
from centernet.dcn.arguments import check_arguments
from centernet.dcn.reference import deform_conv2d_reference

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

INT32_MAX = 2**31 - 1

CASES = [
    # batch, in, out, height, width, kernel, stride, padding, dilation, groups, deformable_groups
    (2, 4, 6, 7, 9, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    # nine channels per deformable group: one slice of eight and a partial one
    (1, 36, 4, 10, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, 4),
    (3, 6, 6, 5, 5, (1, 1), (1, 2), (2, 1), (1, 1), 3, 2),
    (2, 4, 4, 1, 1, (3, 3), (1, 1), (1, 1), (1, 1), 4, 4),
]


def make(case, dtype):
    batch, channels, outputs, height, width, kernel, stride, padding, dilation, groups, deformable_groups = (
        case
    )
    torch.manual_seed(0)
    taps = kernel[0] * kernel[1]
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((height, width), kernel, stride, padding, dilation)
    ]
    offset = torch.randn(batch, 2 * deformable_groups * taps, *size, dtype=dtype) * 3
    offset = torch.where(torch.rand_like(offset) < 1 / 3, offset.round(), offset)
    offset[0, 0, 0, 0] = float('nan')
    tensors = [
        torch.randn(batch, channels, height, width, dtype=dtype),
        offset,
        torch.rand(batch, deformable_groups * taps, *size, dtype=dtype),
        torch.randn(outputs, channels // groups, *kernel, dtype=dtype),
        torch.randn(outputs, dtype=dtype),
    ]
    shape = check_arguments(*tensors, stride, padding, dilation, groups, deformable_groups)
    sizes = [*stride, *padding, *dilation, groups, deformable_groups, *size]
    return [tensor.requires_grad_() for tensor in tensors], shape, sizes


@pytest.mark.parametrize('wide', [False, True])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize('case', CASES)
def test_kernels_equal_the_reference(case, dtype, tolerance, wide):
    tensors, shape, sizes = make(case, dtype)
    expected = deform_conv2d_reference(*tensors, shape)
    grad = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, tensors, grad)
    with torch.no_grad():
        found = compiled._extension.columns_forward(*tensors, sizes, wide)
        gradients = compiled._extension.columns_backward(*tensors[:4], grad, sizes, [True] * 5, wide)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    for gradient, expected_gradient in zip(gradients, expected_gradients):
        assert gradient.shape == expected_gradient.shape
        assert (gradient - expected_gradient).abs().max() <= tolerance * max(
            expected_gradient.abs().max().item(), 1
        )


@pytest.mark.parametrize('index', range(5))
def test_gradients_one_at_a_time(index):
    tensors, _, sizes = make(CASES[0], torch.float64)
    with torch.no_grad():
        grad = torch.randn(2, 6, 7, 9, dtype=torch.float64)
        every = compiled._extension.columns_backward(*tensors[:4], grad, sizes, [True] * 5, False)
        one = compiled._extension.columns_backward(
            *tensors[:4], grad, sizes, [i == index for i in range(5)], False
        )
    assert [gradient is not None for gradient in one] == [i == index for i in range(5)]
    assert torch.equal(one[index], every[index])


@pytest.mark.parametrize(
    'images, channels, size, narrow',
    [
        (1, 64, 128, True),
        (1, 3, 1, True),
        (8, 512, 16, True),
        (4, 256, 512, False),  # 9 * 256 * 512 * 512 * 4 values in the columns
        (1, 64, 2048, False),
        (14, 64, 512, True),  # 2,113,929,216 values: just within 32 bits
        (15, 64, 512, False),
    ],
)
def test_launches_cover_all_items(images, channels, size, narrow):
    items, blocks, threads, is_narrow = compiled._extension.plan_launch(
        [channels, size, size, size, size, 9], images
    )
    slices = (channels + 7) // 8
    assert items == images * slices * 9 * size * size
    assert threads == 256 and 1 <= blocks <= 2**20
    assert blocks == 2**20 or (blocks - 1) * threads < items <= blocks * threads
    assert is_narrow == narrow
    if is_narrow:  # no index, one step past the end included, leaves 32 bits
        assert items + blocks * threads <= INT32_MAX
        assert images * channels * 9 * size * size <= INT32_MAX


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU to run the CUDA kernels')
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float16, 2e-2), (torch.float32, 1e-4), (torch.float64, 1e-10)]
)
@pytest.mark.parametrize('case', CASES)
def test_cuda_equals_the_cpu(case, dtype, tolerance):
    if not compiled._extension.has_cuda():
        pytest.skip('the operator is built without CUDA')
    tensors, shape, _ = make(case, torch.float64)
    on_gpu = [tensor.detach().to('cuda', dtype).requires_grad_() for tensor in tensors]
    same = [tensor.detach().to('cpu', torch.float64).requires_grad_() for tensor in on_gpu]
    expected = compiled.deform_conv2d_compiled(*same, shape)
    found = compiled.deform_conv2d_compiled(*on_gpu, shape)
    grad = torch.randn_like(expected)
    pairs = zip(
        [found, *torch.autograd.grad(found, on_gpu, grad.to('cuda', dtype))],
        [expected, *torch.autograd.grad(expected, same, grad)],
    )
    for result, wanted in pairs:
        assert result.dtype == dtype and result.device.type == 'cuda'
        assert (result.cpu().double() - wanted).abs().max() <= tolerance * max(wanted.abs().max().item(), 1)
