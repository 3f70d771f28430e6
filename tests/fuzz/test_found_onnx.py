"""What fuzzing and reading the code found in the readers of ONNX files, one by one: each hung, crashed, took
gigabytes or showed a traceback before."""

import contextlib
import os
import time

import numpy as np
import pytest
import torch

from centernet.system.errors import ModelError

onnx = pytest.importorskip('onnx')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from support.onnx_files import detector  # noqa: E402

from centernet.exporting.repair import repair  # noqa: E402
from centernet.networks.network import Network, NetworkInfo  # noqa: E402
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork as OnnxRunner  # noqa: E402
from centernet.onnxfile.graph import Node, load  # noqa: E402
from centernet.onnxfile.output_chain import OutputChain  # noqa: E402

HEADS = ['hm', 'wh', 'reg']


def write(tmp_path, model, name='a.onnx'):
    (tmp_path / name).write_bytes(model.SerializeToString())
    return str(tmp_path / name)


def everything_refuses(path, said):
    for step in (
        lambda: load(path),
        lambda: OnnxRunner(path, 'cpu', 1),
        lambda: repair(path, path + '.out', 'onnx', HEADS),
    ):
        with pytest.raises(ModelError, match=said):
            step()


def kept_outside(location, offset=0, length=None):
    """A detector whose first weight is in another file."""
    model = detector(batch=1, size=(32, 32))
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (
        ('location', location),
        ('offset', str(offset)),
        ('length', str(len(data) if length is None else length)),
    ):
        tensor.external_data.add(key=key, value=value)
    return model, data


@pytest.mark.parametrize(
    'location', ['/etc/passwd', '/dev/zero', '../outside.bin', 'sub/../../outside.bin', '', '.', 'a\0b']
)
def test_a_tensor_in_a_file_elsewhere(tmp_path, location):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'outside.bin').write_bytes(bytes(1 << 16))
    (tmp_path / 'in').mkdir()
    everything_refuses(
        write(tmp_path / 'in', kept_outside(location)[0]),
        'not a file in its folder|file not found',
    )


def test_a_tensor_behind_a_link(tmp_path):
    (tmp_path / 'outside.bin').write_bytes(bytes(1 << 16))
    (tmp_path / 'in').mkdir()
    os.symlink(str(tmp_path / 'outside.bin'), str(tmp_path / 'in' / 'link.bin'))
    os.symlink(str(tmp_path), str(tmp_path / 'in' / 'folder'))
    for location in ('link.bin', 'folder/outside.bin'):
        everything_refuses(write(tmp_path / 'in', kept_outside(location)[0]), 'not a file in its folder')


def test_a_tensor_that_is_not_all_there(tmp_path):
    model, data = kept_outside('weights.bin', offset=8)
    (tmp_path / 'weights.bin').write_bytes(data)
    everything_refuses(write(tmp_path, model), 'behind the end of .*weights.bin')
    everything_refuses(write(tmp_path, kept_outside('weights.bin', -1)[0]), 'not a position in a file')


def test_a_tensor_beside_the_model_is_read(tmp_path):
    model, data = kept_outside('sub/weights.bin', offset=16)
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'weights.bin').write_bytes(bytes(16) + data)
    x = np.random.RandomState(0).rand(1, 3, 32, 32).astype(np.float32)
    found = OnnxRunner(write(tmp_path, model), 'cpu', 1)(x)
    expected = OnnxRunner(detector(batch=1, size=(32, 32)), 'cpu', 1)(x)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected))
    assert len(load(str(tmp_path / 'a.onnx')).initializers) == len(model.graph.initializer)


def test_tensors_that_share_a_file_do_not_add_up(tmp_path):
    model, _ = kept_outside('weights.bin', 0, 1 << 16)
    (tmp_path / 'weights.bin').write_bytes(bytes(1 << 16))
    for _ in range(20):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
    everything_refuses(write(tmp_path, model), 'more tensors in .* than can be loaded')


def grown(nodes, *tensors):
    model = detector(batch=1, size=(32, 32))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in tensors
    )
    nodes = nodes + [
        helper.make_node('Shape', [nodes[-1].output[0]], ['grown.shape']),
        helper.make_node('Reshape', ['features', 'grown.shape'], ['unused']),
    ]
    old = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(old[:2] + nodes + old[2:])
    return model


@pytest.mark.parametrize(
    'nodes, tensors',
    [
        ([helper.make_node('ConstantOfShape', ['n'], ['y'])], [('n', np.array([1 << 40]))]),
        (
            [helper.make_node('Expand', ['x', 'n'], ['y'])],
            [('x', np.ones(1, np.float32)), ('n', np.array([1 << 20, 1 << 20]))],
        ),
        (
            [helper.make_node('Range', ['a', 'n', 'b'], ['y'])],
            [('a', np.array(0)), ('n', np.array(1 << 40)), ('b', np.array(1))],
        ),
        (
            [helper.make_node('Concat', [f'y{i}'] * 2, [f'y{i + 1}'], axis=0) for i in range(60)],
            [('y0', np.ones(9, np.float32))],
        ),
        (
            [helper.make_node('Gather', [f'y{i}', 'n'], [f'y{i + 1}'], axis=0) for i in range(20)],
            [('y0', np.ones(9, np.float32)), ('n', np.zeros((1000, 4), np.int64))],
        ),
        (
            [helper.make_node('Add', ['a', 'b'], ['y'])],
            [('a', np.ones((100000, 1), np.float32)), ('b', np.ones((1, 100000), np.float32))],
        ),
    ],
    ids=['ConstantOfShape', 'Expand', 'Range', 'Concat', 'Gather', 'Add'],
)
def test_constants_that_grow(tmp_path, nodes, tensors):
    path = write(tmp_path, grown(nodes, *tensors))
    start = time.process_time()
    for step in (lambda: OnnxRunner(path, 'cpu', 1), lambda: repair(path, path + '.out', 'onnx', HEADS)):
        with pytest.raises(ModelError, match=r'of nothing but constants|make more than'):
            step()
    assert time.process_time() - start < 20


def test_graphs_inside_of_graphs(tmp_path):
    """onnxruntime 1.32 took minutes for 28 levels."""
    inner = helper.make_graph(
        [helper.make_node('Identity', ['features'], ['x'])],
        'g',
        [],
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, None)],
    )
    for _ in range(20):
        node = helper.make_node('If', ['c'], ['x'], then_branch=inner)
        inner = helper.make_graph(
            [node], 'g', [], [helper.make_tensor_value_info('x', TensorProto.FLOAT, None)]
        )
    model = detector(batch=1, size=(32, 32))
    model.graph.node.extend([helper.make_node('If', ['c'], ['y'], then_branch=inner, else_branch=inner)])
    everything_refuses(write(tmp_path, model), 'nested')


@pytest.mark.parametrize('size', [(1 << 20, 1 << 20), (1 << 40, 32)])
def test_an_input_larger_than_any_image(tmp_path, size):
    path = write(tmp_path, detector(batch=1, size=size))
    for step in (lambda: OnnxRunner(path, 'cpu', 1), lambda: repair(path, path + '.out', 'onnx', HEADS)):
        with pytest.raises(ModelError):
            step()


def test_a_node_without_an_input_that_it_needs(tmp_path):
    model = grown([helper.make_node('Identity', [], ['y'])])
    with pytest.raises(ModelError, match=r'is damaged.*IndexError'):
        repair(write(tmp_path, model), str(tmp_path / 'out.onnx'), 'onnx', HEADS)


def test_a_cycle(tmp_path):
    model = detector(batch=1, size=(32, 32))
    model.graph.node[0].input[0] = 'deformed'
    path = write(tmp_path, model)
    for step in (lambda: OnnxRunner(path, 'cpu', 1), lambda: repair(path, path + '.out', 'onnx', HEADS)):
        with pytest.raises(ModelError, match='cycle'):
            step()


def test_constants_that_only_their_shapes_betray(tmp_path):
    """A constant that goes through an operator that is not computed here, and then grows."""
    model = detector(batch=1, size=(32, 32))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4096, np.float32), 'const'))
    nodes = [helper.make_node('Clip', ['const'], ['grown0'])]
    for level in range(30):
        nodes.append(helper.make_node('Concat', [f'grown{level}'] * 2, [f'grown{level + 1}'], axis=0))
    model.graph.node.extend(nodes)
    with pytest.raises(ModelError, match='constants'):
        OnnxRunner(write(tmp_path, model), 'cpu', 1)


@pytest.mark.parametrize('key, values', [('pads', [-1] * 4), ('strides', [0, 0]), ('dilations', [0, 1])])
def test_windows_that_crash_old_runtimes(key, values, tmp_path):
    model = detector(batch=1, size=(32, 32))
    node = model.graph.node[-1]
    node.attribute.extend([helper.make_attribute(key, values)])
    with pytest.raises(ModelError, match=key):
        OnnxRunner(write(tmp_path, model), 'cpu', 1)


def test_a_split_into_more_parts_than_outputs(tmp_path):
    model = detector(batch=1, size=(32, 32))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1 << 16, np.float32), 'const'))
    model.graph.node.append(helper.make_node('Split', ['const', 'const'], ['part']))
    start = time.process_time()
    with contextlib.suppress(ModelError):
        repair(write(tmp_path, model), str(tmp_path / 'out.onnx'), 'portable', HEADS)
    assert time.process_time() - start < 5


def test_a_weight_of_a_negative_size(tmp_path):
    """It ended the process with onnxruntime 1.7."""
    model = detector(batch=1, size=(32, 32))
    model.graph.initializer[1].dims[2] = -1
    with pytest.raises(ModelError, match='sizes'):
        OnnxRunner(write(tmp_path, model), 'cpu', 1)


def test_the_name_of_a_size_that_is_no_text(tmp_path):
    model = detector(batch='QQQQ', size=(32, 32))
    path = tmp_path / 'a.onnx'
    path.write_bytes(model.SerializeToString().replace(b'QQQQ', b'Q\xffQQ'))
    with pytest.raises(ModelError):
        OnnxRunner(str(path), 'cpu', 1)


def test_a_heat_map_that_is_computed_but_is_no_head():
    class Sizes(Network):
        info = NetworkInfo(heads={'wh': 2}, runtime='onnxruntime', device='cpu')
        heat_map = OutputChain(Node('Conv', [], []), (Node('Sigmoid', [], []),))

        def outputs(self, images):
            return {'wh': torch.zeros(1, 2, 8, 8)}

    with pytest.raises(ModelError, match='hm'):
        Sizes()(np.zeros((1, 3, 32, 32), np.float32))
