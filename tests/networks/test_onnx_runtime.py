import ast
import json

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from support.onnx_files import detector, weights
from support.runs import run

from centernet.coco import CocoData
from centernet.detection import RawBoxes, decode
from centernet.exporting.append_decoder import append_decode
from centernet.kernels import deform_conv2d
from centernet.networks.runtimes import custom_operators
from centernet.networks.runtimes.custom_operators import to_standard
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork
from centernet.onnxfile.graph import of_model
from centernet.onnxfile.opsets import raise_opset
from centernet.system.errors import ModelError, OptionError

SIZE = (32, 48)


def save(model, folder, name='model.onnx'):
    path = str(folder / name)
    onnx.save(model, path)
    return path


def images(count=3, size=SIZE, seed=0):
    return np.random.RandomState(seed).standard_normal((count, 3) + size).astype(np.float32)


def in_torch(batch, deformable, dg=1):
    """The network of onnx_files.detector, written down a second time."""
    values = {name: torch.from_numpy(value) for name, value in weights(dg=dg).items()}
    x = F.relu(F.conv2d(torch.from_numpy(batch), values['stem.weight'], stride=4))
    if deformable:
        predicted = F.conv2d(x, values['predict.weight'], values['predict.bias'], padding=1)
        x = deform_conv2d(
            x,
            predicted[:, : 18 * dg].contiguous(),
            torch.sigmoid(predicted[:, 18 * dg :]),
            values['dcn.weight'],
            values['dcn.bias'],
            1,
            1,
            deformable_groups=dg,
        )
    else:
        x = F.conv2d(x, values['dcn.weight'], values['dcn.bias'], padding=1)
    return [
        F.conv2d(x, values[name + '.weight'], values.get(name + '.bias')).numpy()
        for name in ('hm', 'wh', 'reg')
    ]


def assert_heads(found, expected):
    for name, ours, theirs in zip(found._fields, found, expected):
        assert ours.dtype == torch.float32 and tuple(ours.shape) == theirs.shape, name
        assert np.abs(ours.numpy() - theirs).max() < 2e-5, name


@pytest.mark.parametrize(
    'spelling, dg', [(None, 1)] + [(name, dg) for name in ('ascend', 'tensorrt', 'onnx') for dg in (1, 2)]
)
def test_every_spelling_gives_what_torch_gives(spelling, dg, tmp_path):
    network = OnnxNetwork(save(detector(spelling, dg=dg, size=SIZE), tmp_path), 'cpu', 1)
    assert network.info.classes == 4
    assert_heads(network(images()), in_torch(images(), spelling is not None, dg))


@pytest.mark.parametrize(
    'spelling, opset', [('ascend', 9), ('ascend', 11), ('ascend', 16), ('tensorrt', 9), ('tensorrt', 13)]
)
def test_custom_operators_are_translated_in_any_opset(spelling, opset, tmp_path):
    network = OnnxNetwork(save(detector(spelling, opset=opset, size=SIZE), tmp_path), 'cpu', 1)
    assert network.info.translated == {'ascend': 'DeformableConv2D', 'tensorrt': 'DCNv2'}[spelling]
    assert_heads(network(images()), in_torch(images(), True))


@pytest.mark.parametrize('spelling', ['ascend', 'tensorrt'])
def test_numbers_for_pairs_are_read_where_they_are_clear(spelling, tmp_path):
    model = detector(spelling, size=SIZE)
    node = next(node for node in model.graph.node if node.name == 'dcn')
    for attribute in list(node.attribute):
        value = helper.get_attribute_value(attribute)
        node.attribute.remove(attribute)
        if attribute.name not in ('groups', 'strides', 'stride'):  # 1 where they are missing
            node.attribute.append(
                helper.make_attribute(
                    attribute.name,
                    (
                        value[0]
                        if isinstance(value, list) or hasattr(value, '__len__')
                        else [value, value]
                        if attribute.name in ('padding', 'dilation')
                        else value
                    ),
                )
            )
    assert_heads(OnnxNetwork(save(model, tmp_path), 'cpu', 1)(images()), in_torch(images(), True))


@pytest.mark.parametrize(
    'break_it, message',
    [
        (lambda node: node.input.pop(), None),
        (lambda node: (node.input.pop(), node.input.pop()), 'takes x, weight, offsets, bias'),
        (lambda node: node.attribute.append(helper.make_attribute('strides', [1, 1, 1])), 'strides is'),
        (lambda node: node.attribute.append(helper.make_attribute('pads', [1, 1, 2, 2])), 'pads is'),
        (lambda node: node.attribute.append(helper.make_attribute('groups', [1])), 'groups is'),
        (lambda node: node.input.__setitem__(1, 'features'), 'stored tensor'),
    ],
)
def test_operators_that_cannot_be_read_are_named(break_it, message):
    model = detector('ascend', size=SIZE)
    node = next(node for node in model.graph.node if node.name == 'dcn')
    break_it(node)
    if message is None:  # the bias may be omitted
        standard(model)
        return
    with pytest.raises(ModelError, match=r'dcn.*' + message):
        OnnxNetwork(model, 'cpu', 1)


def test_the_translation_shares_no_code_with_the_exporter():
    with open(custom_operators.__file__) as file:
        tree = ast.parse(file.read())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {'typing', 'numpy', 'system.errors', 'onnxfile.graph'}


def standard(model):
    """A file's graph with ONNX's own deformable convolutions."""
    graph = of_model(model)
    to_standard(graph, graph.initializers)
    return graph


def test_the_translation_leaves_nothing_but_onnx_operators():
    if onnx.defs.onnx_opset_version() < 19:
        pytest.skip(f'onnx {onnx.__version__} does not know opset 19')
    model = detector('ascend', size=SIZE, opset=9)
    graph = standard(model)
    raise_opset(graph, 19)
    model = graph.to_model()
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [('', 19)]


@pytest.mark.parametrize('opset', [9, 11, 13, 16, 19])
def test_the_opset_of_ordinary_networks_does_not_matter(opset, tmp_path):
    model = detector(None, opset=opset, size=SIZE)
    network = OnnxNetwork(save(model, tmp_path), 'cpu', 1)
    assert network.info.translated is None
    assert_heads(network(images()), in_torch(images(), False))


def test_a_file_without_an_opset_is_refused(tmp_path):
    model = detector(None, size=SIZE)
    model.opset_import[0].domain = 'other'
    with pytest.raises(ModelError, match=r'model.onnx: .*no opset'):
        OnnxNetwork(save(model, tmp_path), 'cpu', 1)


@pytest.mark.parametrize('count', [1, 3, 4, 7])
@pytest.mark.parametrize('batch', [1, 4])
def test_a_fixed_batch_takes_any_number_of_images(batch, count, tmp_path):
    network = OnnxNetwork(save(detector(batch=batch, size=SIZE), tmp_path), 'cpu', 1)
    assert (network.info.batch_size, network.info.fixed) == (batch, SIZE)
    assert_heads(network(images(count)), in_torch(images(count), False))


def test_an_open_size_takes_any_size(tmp_path):
    network = OnnxNetwork(save(detector(), tmp_path), 'cpu', 1)
    assert (network.info.batch_size, network.info.fixed, network.info.classes) == (None, None, 4)
    for size in ((32, 32), (64, 96)):
        assert_heads(network(images(2, size)), in_torch(images(2, size), False))


def test_another_size_than_the_fixed_one_is_refused(tmp_path):
    network = OnnxNetwork(save(detector(size=SIZE), tmp_path), 'cpu', 1)
    with pytest.raises(OptionError, match=r'32 x 48 .*not of 48 x 32'):
        network(images(1, (48, 32)))


@pytest.mark.parametrize('spelling', [None, 'tensorrt'])
def test_outputs_are_found_by_name(spelling, tmp_path):
    network = OnnxNetwork(
        save(detector(spelling, outputs=('reg', 'hm', 'wh'), size=SIZE), tmp_path), 'cpu', 1
    )
    assert_heads(network(images()), in_torch(images(), spelling is not None))


def test_half_precision_comes_back_as_float32(tmp_path):
    model = detector(size=SIZE)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    for value in list(model.graph.input) + list(model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    found = OnnxNetwork(save(model, tmp_path), 'cpu', 1)(images())
    for ours, theirs in zip(found, in_torch(images(), False)):
        assert ours.dtype == torch.float32
        assert 1e-6 < np.abs(ours.numpy() - theirs).max() < 2e-2 * np.abs(theirs).max()


def without_sizes(model):
    del model.graph.output[1]


def with_two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info('size', TensorProto.FLOAT, [1]))
    model.graph.node.append(helper.make_node('Identity', ['size'], ['unused']))
    model.graph.output.append(helper.make_tensor_value_info('unused', TensorProto.FLOAT, [1]))


def with_flat_input(model):
    del model.graph.node[:], model.graph.output[:]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 10]))
    for name in ('hm', 'wh', 'reg'):
        model.graph.node.append(helper.make_node('Identity', ['image'], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 10]))


def with_three_offsets(model):
    for tensor in model.graph.initializer:
        if tensor.name == 'reg.weight':
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((3, 8, 1, 1), np.float32), tensor.name))
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 3


def with_another_stride(model):
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.extend(
        [helper.make_attribute('strides', [2, 2]), helper.make_attribute('pads', [1] * 4)]
    )
    for output in model.graph.output:
        output.type.ClearField('value')
        output.type.tensor_type.elem_type = TensorProto.FLOAT


def with_unknown_operator(model):
    model.graph.node[1].op_type = 'NoSuchOperator'


@pytest.mark.parametrize(
    'change, message',
    [
        (without_sizes, 'the outputs lack wh; they are hm, reg'),
        (with_two_inputs, 'has 2 inputs .image, size.'),
        (with_flat_input, r'input tensor.float. \[1, 10\]'),
        (with_three_offsets, 'reg of 3 channels instead of 2'),
        (with_another_stride, r'output hm is \(1, 4, 16, 24\) for images'),
        (with_unknown_operator, 'cannot run .*NoSuchOperator'),
    ],
)
def test_other_models_are_refused_with_the_reason(change, message, tmp_path):
    model = detector(batch=1, size=SIZE)
    change(model)
    with pytest.raises(ModelError, match=message):
        OnnxNetwork(save(model, tmp_path), 'cpu', 1)(images(1))


@pytest.mark.parametrize('content', [b'', b'not a model', b'\x08\x06' + bytes(200), None])
def test_files_that_are_no_models_are_refused(content, tmp_path):
    path = tmp_path / 'model.onnx'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r'model\.onnx'):
        OnnxNetwork(str(path), 'cpu', 1)


def test_threads_are_the_ones_that_were_asked_for():
    network = OnnxNetwork(detector(size=SIZE), 'cpu', 2)
    options = network._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert network.info.threads == 2


def test_a_file_with_a_decoder_gives_its_own_boxes(tmp_path):
    graph = of_model(detector(size=SIZE))
    append_decode(graph, k=20)
    path = save(graph.to_model(), tmp_path)
    network = OnnxNetwork(path, 'cpu', 1)
    assert (network.info.decodes, network.info.classes) == (True, 4)
    assert_heads(network.heads(images()), in_torch(images(), False))
    found, expected = network(images()), decode(network.heads(images()), k=20)
    assert isinstance(found, RawBoxes)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert np.abs((ours - theirs).numpy()).max() < 1e-5


def test_the_flip_test_is_refused_where_the_file_decodes(data_folder, tmp_path):
    graph = of_model(detector(size=(64, 64)))
    append_decode(graph)
    network = OnnxNetwork(graph.to_model(), 'cpu', 1)
    with pytest.raises(OptionError, match='decoder'):
        run(CocoData.load(str(data_folder)), tmp_path / 'out', network, flip_test=True)


@pytest.mark.parametrize('spelling', [None, 'ascend'])
def test_the_evaluation_takes_it_as_any_network(spelling, data_folder, tmp_path):
    values = weights()
    values['hm.weight'] = values['hm.weight'][:2]
    model = detector(spelling, values, size=(64, 64), batch=2, metadata=[('arch', 'small')])
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
    path = save(model, tmp_path)
    data = CocoData.load(str(data_folder))
    found = []
    for number, (batch_size, flip) in enumerate([(1, False), (5, False), (5, True)]):
        network = OnnxNetwork(path, 'cpu', 1)
        done = run(data, tmp_path / str(number), network, batch_size=batch_size, flip_test=flip)
        with open(done.files[0]) as file:
            found.append(json.load(file))
    assert len(found[0]) == 1200
    assert found[0] == found[1] != found[2]
    info = done.record.network
    assert (info.runtime, info.metadata, len(info.sha256)) == ('onnxruntime', {'arch': 'small'}, 64)
