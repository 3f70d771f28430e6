"""What fuzzing and reading the code found, one by one: each hung, crashed, took gigabytes or showed a
traceback before."""

import contextlib
import json
import os
import time

import numpy as np
import pytest
from support.checkpoint_files import claim, save, text, write_legacy, write_zip

from centernet.checkpoint import load_model, read_checkpoint
from centernet.coco import CocoData
from centernet.errors import CheckpointError, DataError, ModelError

onnx = pytest.importorskip('onnx')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from support.onnx_files import detector  # noqa: E402

from centernet.export.repair import repair  # noqa: E402
from centernet.onnxfile.graph import load  # noqa: E402
from centernet.runners.onnx_runner import OnnxRunner  # noqa: E402

ONE = {'w': ('FloatStorage', '0', 4, 0, (4,), (1,))}
STORAGES = {'0': (4, bytes(16))}
HEADS = ['hm', 'wh', 'reg']


def refused(path, said):
    start = time.process_time()
    with pytest.raises(CheckpointError, match=said) as caught:
        read_checkpoint(str(path))
    assert time.process_time() - start < 20
    assert len(str(caught.value)) < 1000


# checkpoints


@pytest.mark.slow
def test_a_pickle_of_many_megabytes(tmp_path):
    write_zip(tmp_path / 'a.pth', b'\x80\x02' + b']' * (1 << 23) + b'.', {})
    refused(tmp_path / 'a.pth', 'more than is read .* values')
    write_zip(tmp_path / 'a.pth', b'\x80\x02' + bytes(1 << 26) + b'.', {})
    refused(tmp_path / 'a.pth', 'more than is read .* MiB')


def test_copies_of_one_list_as_dictionaries(tmp_path):
    """They took the memory of a dictionary for four bytes each."""
    pairs = b''.join(b'(M' + i.to_bytes(2, 'little') + b'Nt' for i in range(10000))
    copies = b'h\x01h\x00\x85R' * 100000
    data = b'\x80\x02]q\x00(' + pairs + b'eccollections\nOrderedDict\nq\x01(' + copies + b't.'
    write_zip(tmp_path / 'a.pth', data, {})
    refused(tmp_path / 'a.pth', 'too many entries')


def test_names_made_of_long_texts(tmp_path):
    data = b'\x80\x04' + text('x' * 20000) + b'q\x00(' + b'h\x00h\x00\x93' * 100000 + b't.'
    write_zip(tmp_path / 'a.pth', data, {})
    refused(tmp_path / 'a.pth', 'a name is too long')


def test_a_number_of_a_million_decimal_digits(tmp_path):
    write_zip(tmp_path / 'a.pth', b'\x80\x02L' + b'7' * 10**6 + b'L\n.', {})
    refused(tmp_path / 'a.pth', 'a line is too long')


@pytest.mark.parametrize(
    'before, after',
    [
        (b'}', b'Ns'),
        (b'}(', b'Nu'),
        (b'(', b'Nd'),
        (b'\x8f(', b'\x90'),
        (b'(', b'\x91'),
        (b'ccollections\nOrderedDict\n((', b'N\x86l\x85R'),
    ],
    ids=['entry', 'entries', 'dict', 'set', 'frozenset', 'OrderedDict'],
)
@pytest.mark.parametrize('depth', [100, 200000])
def test_nested_keys_neither_hang_nor_overflow_the_stack(tmp_path, before, after, depth):
    nested = b')' + (b'2\x86' if depth == 100 else b'\x85') * depth  # a hundred levels are 2 ** 100 elements
    write_legacy(tmp_path / 'a.pth', b'\x80\x04' + before + nested + after + b'.', STORAGES)
    refused(tmp_path / 'a.pth', 'nested|damaged')


def test_a_number_of_a_million_bytes(tmp_path):
    digits = b'\x8b' + (10**6).to_bytes(4, 'little') + b'\x7f' * 10**6
    tensor = b'ctorch._utils\n_rebuild_tensor_v2\n(' + digits + b'K\x00))tR'
    write_legacy(tmp_path / 'a.pth', b'\x80\x02}(' + text('w') + tensor + b'u.', STORAGES)
    refused(tmp_path / 'a.pth', 'damaged')
    write_legacy(
        tmp_path / 'a.pth',
        b'\x80\x02}(' + text('epoch') + digits + text('state_dict') + claim(ONE)[2:-1] + b'u.',
        STORAGES,
    )
    assert read_checkpoint(str(tmp_path / 'a.pth')).epoch is None


def test_an_empty_file_that_claims_16_gigabytes(tmp_path):
    """torch.load returns it, with weights_only too."""
    data = claim({'w': ('FloatStorage', '0', 1 << 32, 0, (1 << 32,), (1,))})
    write_legacy(tmp_path / 'a.pth', data, {}, keys=[])
    refused(tmp_path / 'a.pth', 'no data for storage 0')
    write_zip(tmp_path / 'a.pth', data.replace(b'NtQ', b'tQ'), {})
    refused(tmp_path / 'a.pth', 'data/0')


@pytest.mark.parametrize('form', ['zip', 'legacy'])
def test_many_tensors_of_one_storage_do_not_read_it_again_and_again(tmp_path, form):
    count = 1 << 22
    data = claim({str(i): ('FloatStorage', '0', count, 0, (1,), (1,)) for i in range(5000)})
    if form == 'zip':
        write_zip(tmp_path / 'a.pth', data.replace(b'NtQ', b'tQ'), {'0': bytes(4 * count)})
    else:
        write_legacy(tmp_path / 'a.pth', data, {'0': (count, bytes(4 * count))})
    start = time.process_time()
    assert len(read_checkpoint(str(tmp_path / 'a.pth')).state_dict) == 5000
    assert time.process_time() - start < 20  # 80 GB otherwise


def test_a_part_of_a_zip_with_two_sizes(tmp_path):
    import resource

    write_zip(tmp_path / 'a.pth', claim(ONE).replace(b'NtQ', b'tQ'), {'0': bytes(16)})
    data = (tmp_path / 'a.pth').read_bytes()
    at = data.index(
        b'PK\x01\x02', data.index(b'PK\x01\x02') + 1
    )  # the storage's entry in the directory: compressed size at 20
    (tmp_path / 'a.pth').write_bytes(data[: at + 20] + (1 << 31).to_bytes(4, 'little') + data[at + 24 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path / 'a.pth', 'larger than the file')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100000  # kB


def test_heads_that_claim_more_than_the_file_has(tmp_path):
    import torch

    save(
        tmp_path / 'a.pth',
        {'hm.2.bias': torch.zeros(1 << 20), 'wh.2.weight': torch.zeros(2, 1 << 14, 1, 1)},
        'legacy',
    )
    with pytest.raises(CheckpointError, match='do not match the declared heads'):
        load_model(str(tmp_path / 'a.pth'), 'dla_tiny')


# annotations


def annotations(tmp_path, **changes):
    document = dict(
        {
            'images': [{'id': 1, 'file_name': 'a.png'}],
            'annotations': [],
            'categories': [{'id': 1, 'name': 'a'}],
        },
        **changes,
    )
    (tmp_path / 'a.json').write_text(json.dumps(document))
    (tmp_path / 'a.png').write_bytes(b'')
    return CocoData.load(annotations=str(tmp_path / 'a.json'), images=str(tmp_path))


@pytest.mark.parametrize(
    'changes, said',
    [
        ({'images': [{'id': 1, 'file_name': 'a\0b'}]}, "'file_name'"),
        ({'images': [{'id': 1, 'file_name': '\ud800'}]}, "'file_name'"),
        ({'images': [{'id': 1 << 70, 'file_name': 'a.png'}]}, 'more than 63 bits'),
        ({'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 10**400, 1]}]}, 'bbox'),
        ({'info': 10**2000}, 'a number of 1000 digits'),
    ],
    ids=['null', 'surrogate', 'id', 'bbox', 'digits'],
)
def test_annotations_that_were_a_traceback(tmp_path, changes, said):
    with pytest.raises(DataError, match=said):
        annotations(tmp_path, **changes)


def test_a_number_of_a_million_digits_in_annotations(tmp_path):
    (tmp_path / 'a.json').write_text('{"info": ' + '7' * 10**6 + '}')
    with pytest.raises(DataError, match='1000 digits'):
        CocoData.load(annotations=str(tmp_path / 'a.json'), images=str(tmp_path))


def test_many_categories_of_one_name(tmp_path):
    start = time.process_time()
    assert (
        len(annotations(tmp_path, categories=[{'id': i, 'name': 'same'} for i in range(30000)]).class_names)
        == 30000
    )
    assert time.process_time() - start < 20


# ONNX files


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
        'only files in its own folder are read|file not found',
    )


def test_a_tensor_behind_a_link(tmp_path):
    (tmp_path / 'outside.bin').write_bytes(bytes(1 << 16))
    (tmp_path / 'in').mkdir()
    os.symlink(str(tmp_path / 'outside.bin'), str(tmp_path / 'in' / 'link.bin'))
    os.symlink(str(tmp_path), str(tmp_path / 'in' / 'folder'))
    for location in ('link.bin', 'folder/outside.bin'):
        everything_refuses(write(tmp_path / 'in', kept_outside(location)[0]), 'which is a link')


def test_a_tensor_that_is_not_all_there(tmp_path):
    model, data = kept_outside('weights.bin', offset=8)
    (tmp_path / 'weights.bin').write_bytes(data)
    everything_refuses(write(tmp_path, model), 'of .*weights.bin, which has')
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


def test_a_node_without_an_attribute_that_it_needs(tmp_path):
    model = grown([helper.make_node('Concat', ['x', 'x'], ['y'])], ('x', np.ones(4, np.float32)))
    with pytest.raises(ModelError, match=r"is damaged.*KeyError: 'axis'"):
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
