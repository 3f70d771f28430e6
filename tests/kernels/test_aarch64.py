"""The operator on aarch64: its CPU code cross-compiled, and run under qemu, against the reference."""

import glob
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from centernet.kernels.arguments import check_arguments
from centernet.kernels.build_extension import FLAGS
from centernet.kernels.reference import deform_conv2d_reference

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'src', 'centernet', 'kernels', 'csrc')
COMPILER, NM = 'aarch64-linux-gnu-g++', 'aarch64-linux-gnu-nm'
RUN = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu']

pytestmark = pytest.mark.skipif(
    None in map(shutil.which, (COMPILER, NM, RUN[0])),
    reason='needs an aarch64 compiler and emulator (Debian: g++-aarch64-linux-gnu and qemu-user)',
)

# batch, in, out, height, width, kernel, stride, padding, dilation, groups, deformable_groups
CASES = [
    (2, 19, 35, 9, 12, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    (1, 36, 4, 10, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, 4),
    (1, 130, 64, 14, 15, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),  # products in several blocks and tiles
]
OUTSIDE = (float('nan'), float('inf'), -float('inf'), 1e20, -1e20)


def output_of(command, **options):
    """What a program prints; its error output where it fails."""
    run = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **options
    )
    assert run.returncode == 0, '{} ended with {}\n{}'.format(
        ' '.join(command), run.returncode, run.stderr[-4000:]
    )
    return run.stdout


def includes_torch(path):
    """Whether a source needs torch's headers, itself or through a header of ours."""
    with open(path, encoding='utf-8') as file:
        names = [line.split()[1].strip('"<>') for line in file if line.startswith('#include')]
    ours = [os.path.join(SOURCES, name) for name in names if os.path.exists(os.path.join(SOURCES, name))]
    return any(name.startswith(('torch/', 'ATen/')) for name in names) or any(map(includes_torch, ours))


def sources(with_torch):
    found = sorted(glob.glob(os.path.join(SOURCES, '*.cpp')))
    return [path for path in found if includes_torch(path) == with_torch]


@pytest.fixture(scope='module')
def objects(tmp_path_factory):
    """The folder with what the compiler makes of every source that needs no torch."""
    folder = tmp_path_factory.mktemp('aarch64')
    output_of([COMPILER, '-std=c++11', *FLAGS, '-fPIC', '-c', *sources(with_torch=False)], cwd=str(folder))
    return folder


@pytest.fixture(scope='module')
def driver(objects):
    """The program of cpu_driver.cpp."""
    path = str(objects / 'cpu_driver')
    command = [COMPILER, '-std=c++11', '-O1', '-pthread', '-I', SOURCES, '-o', path]
    compiled = sorted(str(path) for path in objects.glob('*.o'))
    output_of([*command, os.path.join(HERE, 'cpu_driver.cpp'), *compiled])
    return path


def make_tensors(case, dtype):
    """The five tensors, with offsets onto pixels and far outside, and what check_arguments says of them."""
    batch, channels, outputs, height, width, kernel, stride, padding, dilation, groups, deformable = case
    torch.manual_seed(0)
    taps = kernel[0] * kernel[1]
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((height, width), kernel, stride, padding, dilation)
    ]
    offset = torch.randn(batch, 2 * deformable * taps, *size, dtype=dtype) * 3
    offset = torch.where(torch.rand_like(offset) < 1 / 3, offset.round(), offset)
    offset.view(-1)[: len(OUTSIDE)] = torch.tensor(OUTSIDE, dtype=dtype)
    tensors = [
        torch.randn(batch, channels, height, width, dtype=dtype),
        offset,
        torch.rand(batch, deformable * taps, *size, dtype=dtype),
        torch.randn(outputs, channels // groups, *kernel, dtype=dtype),
        torch.randn(outputs, dtype=dtype),
    ]
    shape = check_arguments(*tensors, stride, padding, dilation, groups, deformable)
    return tensors, shape


def run_driver(driver, folder, tensors, expected, shape, channels_last=False, threads=2):
    """The output of the program, as a tensor in the shape of what is expected."""
    arrays = [tensor.detach().numpy() for tensor in tensors]
    header = [arrays[0].dtype.itemsize, channels_last, threads, shape.batch, shape.in_channels]
    header += [shape.height, shape.width, shape.out_channels, shape.out_height, shape.out_width]
    header += [*shape.kernel, *shape.stride, *shape.padding, *shape.dilation]
    header += [shape.groups, shape.deformable_groups]
    if channels_last:
        arrays[0] = arrays[0].transpose(0, 2, 3, 1)
    with open(str(folder / 'input'), 'wb') as file:
        file.write(np.array(header, np.int64).tobytes() + b''.join(array.tobytes() for array in arrays))
    printed = output_of([*RUN, driver, 'input', 'output'], cwd=str(folder))
    assert printed == 'plain\n'
    values = torch.from_numpy(np.fromfile(str(folder / 'output'), arrays[0].dtype))
    batch, outputs, height, width = expected.shape
    if channels_last:
        return values.reshape(batch, height, width, outputs).permute(0, 3, 1, 2)
    return values.reshape(expected.shape)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize('case', CASES)
def test_values_equal_the_reference(driver, tmp_path, case, dtype, tolerance):
    tensors, shape = make_tensors(case, dtype)
    expected = deform_conv2d_reference(*tensors, shape).detach()
    found = run_driver(driver, tmp_path, tensors, expected, shape)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    # sums are in the same order whatever the number of threads, and the layout
    assert torch.equal(run_driver(driver, tmp_path, tensors, expected, shape, threads=1), found)
    assert torch.equal(run_driver(driver, tmp_path, tensors, expected, shape, channels_last=True), found)


@pytest.mark.parametrize(
    'kind, channels, kernel, stride, padding',
    [
        ('direct', 19, (7, 3), 2, (3, 1)),
        ('winograd', 20, (3, 3), 1, (1, 1)),
        ('deformable', 19, (3, 3), 1, (1, 0)),
    ],
)
def test_layers_of_a_fused_network(driver, tmp_path, kind, channels, kernel, stride, padding):
    torch.manual_seed(0)
    deformable = int(kind == 'deformable')
    image, weight = torch.randn(2, channels, 13, 18), torch.randn(35, channels, *kernel)
    bias, taps = torch.randn(35), kernel[0] * kernel[1]
    if deformable:
        size = [13, 16]
        predicted = torch.randn(2, 3 * taps, *size) * 3
        mask = torch.sigmoid(predicted[:, 2 * taps :].double())
        doubles = [image.double(), predicted[:, : 2 * taps].double(), mask, weight.double(), bias.double()]
        expected = deform_conv2d_reference(*doubles, check_arguments(*doubles, stride, padding, 1, 1, 1))
    else:
        expected = F.conv2d(image.double(), weight.double(), bias.double(), stride, padding)
        size, predicted = expected.shape[2:], torch.zeros(0, 0, 0, 0)
    arrays = [image.permute(0, 2, 3, 1), weight, bias, predicted.permute(0, 2, 3, 1)]
    values = b''.join(array.contiguous().numpy().tobytes() for array in arrays)
    results = []
    for threads in (1, 3):
        header = [0, kind == 'winograd', threads, 2, channels, 13, 18, 35, *size, *kernel, stride, stride]
        header += [*padding, 1, 1, 1, deformable]
        with open(str(tmp_path / 'input'), 'wb') as file:
            file.write(np.array(header, np.int64).tobytes() + values)
        assert output_of([*RUN, driver, 'input', 'output'], cwd=str(tmp_path)) == 'plain\n'
        results.append(np.fromfile(str(tmp_path / 'output'), np.float32))
    found = torch.from_numpy(results[0]).view(2, *size, 35).permute(0, 3, 1, 2)
    assert (found.double() - expected).abs().max() < 1e-5 * expected.abs().max()
    assert np.array_equal(results[0], results[1])


def test_what_is_for_other_processors_compiles_to_nothing(objects):
    assert {'cpu_avx2.o', 'cpu_avx512.o', 'cpu_plain.o'} <= {path.name for path in objects.glob('*.o')}
    for path in objects.glob('*.o'):
        symbols = output_of([NM, '--defined-only', str(path)])
        assert ('avx' in path.name) == (symbols == ''), path.name


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__.startswith('1.0.'), reason='torch 1.0.0 is for x86-64 only')
@pytest.mark.parametrize('path', sources(with_torch=True), ids=os.path.basename)
def test_what_needs_torch_compiles(path):
    import sysconfig

    from torch.utils.cpp_extension import include_paths

    # headers are the same for every processor
    folders = [*include_paths(), sysconfig.get_paths()['include']]
    flags = [word for folder in folders for word in ('-isystem', folder)]
    output_of([COMPILER, '-std=c++20', '-fsyntax-only', '-fopenmp', '-DTORCH_EXTENSION_NAME=x', *flags, path])
