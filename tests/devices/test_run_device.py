"""run_device.py, with modules of the same interface in place of ais_bench, and of TensorRT and CUDA.

Nobody ran it on a device yet. The stand-ins have no more than what the documents of these packages name.
"""

import ctypes
import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from devices.stand_in import HEADS

from centernet import cli
from centernet.devices import run_device
from centernet.devices.manifest import read_manifest


class Node:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


def ais_bench_of(device):
    """The module ais_bench.infer.interface."""

    class InferSession:
        def __init__(self, device_id, model_path):
            assert device_id == 0 and model_path.endswith('.om')

        def get_inputs(self):
            return [Node('image', [device.batch, 3] + device.size)]

        def get_outputs(self):
            return [Node(f'Conv_{number}:0:{name}', []) for number, name in enumerate(device.outputs)]

        def infer(self, feeds, mode):
            assert mode == 'static' and len(feeds) == 1 and feeds[0].dtype == np.float32
            return device.run(feeds[0])

    module = types.ModuleType('ais_bench.infer.interface')
    module.InferSession = InferSession
    return {
        'ais_bench': types.ModuleType('ais_bench'),
        'ais_bench.infer': types.ModuleType('ais_bench.infer'),
        module.__name__: module,
    }


def tensorrt_of(device, shape=None):
    """The modules tensorrt and cuda.cudart; the memory of the GPU is a dictionary."""
    memory, addresses = {}, {}
    trt, cudart, cuda = (types.ModuleType(name) for name in ('tensorrt', 'cuda.cudart', 'cuda'))
    channels = dict(zip(HEADS, (4, 2, 2)))
    cells = [side // 4 for side in device.size]

    class Engine:
        names = ['image', *device.outputs]
        num_io_tensors = len(names)

        def get_tensor_name(self, number):
            return self.names[number]

        def get_tensor_mode(self, name):
            return trt.TensorIOMode.INPUT if name == 'image' else trt.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name):
            return shape or [device.batch, 3] + device.size

        def get_tensor_dtype(self, name):
            return 'float32' if name == 'image' else device.dtype

        def create_execution_context(self):
            return Context()

    class Context:
        def set_input_shape(self, name, given):
            assert name == 'image' and list(given) == [device.batch, 3] + device.size

        def get_tensor_shape(self, name):
            return [device.batch, channels[name]] + cells

        def set_tensor_address(self, name, address):
            addresses[name] = address

        def execute_async_v3(self, stream):
            images = np.frombuffer(memory[addresses['image']], np.float32).reshape(
                [device.batch, 3] + device.size
            )
            for name, array in zip(device.outputs, device.run(images)):
                memory[addresses[name]] = array.tobytes()
            return stream == 7

    class Runtime:
        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, content):
            return Engine() if content == b'engine' else None

    class Logger:
        WARNING = 1

        def __init__(self, level):
            pass

    trt.Logger, trt.Runtime, trt.nptype, trt.__version__ = Logger, Runtime, np.dtype, '10.9'
    trt.TensorIOMode = types.SimpleNamespace(INPUT='input', OUTPUT='output')

    def malloc(size):
        memory[len(memory) + 1] = bytes(size)
        return 0, len(memory)

    def memcpy(target, source, size, kind):
        if kind == 'to device':
            memory[target] = ctypes.string_at(source, size)
        else:
            ctypes.memmove(target, memory[source], size)
        return (0,)

    cudart.cudaMalloc, cudart.cudaMemcpy = malloc, memcpy
    cudart.cudaSetDevice = lambda number: (0,)
    cudart.cudaStreamCreate = lambda: (0, 7)
    cudart.cudaStreamSynchronize = lambda stream: (0,)
    cudart.cudaMemcpyKind = types.SimpleNamespace(
        cudaMemcpyHostToDevice='to device', cudaMemcpyDeviceToHost='to host'
    )
    cuda.cudart = cudart
    return {'tensorrt': trt, 'cuda': cuda, 'cuda.cudart': cudart}


@pytest.fixture
def run(dumped, judge, tmp_path, monkeypatch):
    """A function: modules, name of the network -> what eval-outputs says of the outputs."""

    def call(modules, name, *words):
        for module, content in modules.items():
            monkeypatch.setitem(sys.modules, module, content)
        folder = dumped('--layout', 'ais')
        (tmp_path / name).write_bytes(b'engine')
        command = 'run-ais' if name.endswith('.om') else 'run-trt'
        argv = [command, str(tmp_path / name), '--manifest', os.path.join(folder, 'manifest.json')]
        argv += ['--images', os.path.join(folder, 'sample', 'val2017'), '--output', str(tmp_path / 'out')]
        assert cli.main(argv) == 0
        return judge(str(tmp_path / 'out'), folder, *words)

    return call


@pytest.mark.parametrize('batch', [1, 4])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_an_om_through_ais_bench(run, device, expected, batch, dtype, tmp_path):
    status, found, err = run(ais_bench_of(device(batch=batch, dtype=dtype)), 'network.om', '--no-metrics')
    assert status == 0, err
    check(found, expected, dtype)
    assert found['comparison']['order']['heads'] == {'0': 'hm', '1': 'wh', '2': 'reg'}
    sizes = [os.path.getsize(str(path)) for path in (tmp_path / 'out').glob('*.cells.npy')]
    assert len(sizes) == 2 and max(sizes) < 32000  # of 32,768 bytes; 5.5 MB for COCO


@pytest.mark.parametrize('batch', [1, 4])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_an_engine_through_tensorrt(run, device, expected, batch, dtype):
    made = device(batch=batch, dtype=dtype, outputs=('wh', 'reg', 'hm'))
    status, found, err = run(tensorrt_of(made), 'network.engine', '--no-metrics')
    assert status == 0, err
    check(found, expected, dtype)
    assert 'outputs: run_device.py, in out' in err


def check(found, expected, dtype):
    assert found['comparison']['explanation']['images'] == 8 and found['failed_images'] == {}
    if dtype == 'float32':
        assert found['metrics'] == expected
    else:
        assert found['metrics']['AP'] == pytest.approx(expected['AP'], abs=0.005)


def test_an_engine_with_an_open_batch(run, device, expected):
    made = device()
    status, found, _ = run(tensorrt_of(made, [-1, 3] + made.size), 'network.engine', '--no-metrics')
    assert status == 0 and found['metrics'] == expected


def test_outputs_of_two_classes_without_names_are_kept_whole():
    outputs = [np.zeros((1, 2, 4, 4), np.float32) for _ in range(3)]
    assert run_device.number_of_hm(outputs, ['0', '1', '2'], 2) is None
    assert run_device.number_of_hm(outputs, ['wh', 'reg', 'hm'], 2) == 2
    outputs[1] = np.zeros((1, 3, 4, 4), np.float32)
    assert run_device.number_of_hm(outputs, ['0', '1', '2'], 3) == 1


def test_values_that_are_not_finite_are_not_hidden(run, device):
    def spoil(found, number):
        if number == 9:
            found = dict(found, wh=np.where(found['wh'] > 5, np.float32('nan'), found['wh']))
        return found

    status, _, err = run(ais_bench_of(device(change=spoil)), 'network.om', '--no-metrics')
    assert status == 1 and 'values of wh that are infinite or NaN' in err


def test_a_sigmoid_in_the_network(run, device, expected):
    def logistic(found, _):
        return dict(found, hm=(1 / (1 + np.exp(-found['hm'].astype(np.float64)))).astype(np.float32))

    status, found, err = run(ais_bench_of(device(change=logistic)), 'network.om', '--no-metrics')
    assert status == 0 and 'hm has been through a sigmoid' in err
    assert found['metrics']['AP'] == pytest.approx(expected['AP'], abs=1e-3)


def test_a_run_with_another_manifest_is_refused(run, device, dumped, judge, tmp_path):
    assert run(ais_bench_of(device()), 'network.om', '--no-metrics')[0] == 0
    status, _, err = judge(str(tmp_path / 'out'), dumped('--layout', 'benchmark'))
    assert status == 2 and 'was made from another manifest' in err


def test_what_is_watched(run, device, expected):
    status, found, err = run(ais_bench_of(device()), 'network.om', '--no-metrics', '--watch', '20')
    assert status == 0, err
    assert found['metrics'] == expected


@pytest.mark.parametrize('words', [(), ('--watch', '20')])
def test_more_detections_than_peaks_are_refused(run, device, words):
    status, _, err = run(ais_bench_of(device()), 'network.om', '--max-detections', '200', *words)
    assert status == 2 and 'run_device.py was run with --peaks 100' in err


def test_damaged_cells_are_named(run, device, judge, dumped, tmp_path):
    run(ais_bench_of(device()), 'network.om', '--no-metrics')
    folder = dumped('--layout', 'ais')
    last = read_manifest(folder).files[-1].stem
    path = tmp_path / 'out' / (last + '.cells.npy')
    rows = np.load(str(path))
    for content, said in (
        (rows[:, :-1], 'not 7 per cell'),
        (rows * np.float32([99, 1, 1, 1, 1, 1, 1]), 'cells or classes that this network does not have'),
        (np.where(rows == rows[0, 2], np.nan, rows), 'infinite or NaN'),
    ):
        np.save(str(path), content)
        status, _, err = judge(str(tmp_path / 'out'), folder, '--no-metrics')
        assert status == 1 and said in err, err
    path.write_bytes(path.read_bytes()[:300])
    status, _, err = judge(str(tmp_path / 'out'), folder, '--no-metrics')
    assert status == 1 and 'is truncated or damaged' in err


def test_the_script_stands_alone(dumped, tmp_path):
    """Without centernet, and without the packages of a device: one line."""
    folder = dumped('--layout', 'ais')
    (tmp_path / 'network.om').write_bytes(b'')
    words = [sys.executable, '-I', os.path.join(folder, 'run_device.py'), str(tmp_path / 'network.om')]
    done = subprocess.run(
        [*words, '--images', folder], cwd=str(tmp_path), stderr=subprocess.PIPE, universal_newlines=True
    )
    assert done.returncode == 2
    assert (
        "network.om needs a package that is not on this machine: No module named 'ais_bench'" in done.stderr
        and 'Traceback' not in done.stderr
    )


@pytest.mark.parametrize(
    'name, batch, said', [('none.om', '1', 'no such file'), ('a.engine', '4', 'has several images in a file')]
)
def test_mistakes_are_one_line(dumped, tmp_path, capsys, name, batch, said):
    layout = ('--layout', 'trtexec', '--batch', batch)
    folder = dumped(*layout)
    argv = ['run-trt', str(tmp_path / name), '--manifest', folder + '/manifest.json', '--images', folder]
    assert cli.main([*argv, '--output', str(tmp_path / 'out')]) == 2
    assert said in capsys.readouterr().err


def test_the_inputs_are_those_of_the_manifest(dumped):
    folder = dumped('--layout', 'ais')
    with open(os.path.join(folder, 'manifest.json')) as file:
        document = json.load(file)
    for entry in document['files'][:3]:
        (image,) = entry['images']
        path = os.path.join(folder, 'sample', 'val2017', image['file_name'])
        found = run_device.read_input(path, image, document['record']['protocol'])
        with open(os.path.join(folder, entry['file']), 'rb') as file:
            assert found.tobytes() == file.read()
