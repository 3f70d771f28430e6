"""ONNX files: mutated graphs and bytes, files beside the model, sizes that grow; through repair, the rules
and onnxruntime."""

import os

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from support.fuzzing import MIB
from support.mutations import NUMBERS, mutated
from support.onnx_files import detector

from centernet.exporting import rules
from centernet.exporting.repair import repair
from centernet.exporting.targets import TARGETS
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork as OnnxRunner
from centernet.system.errors import ModelError, OptionError

NAME = 'onnx'
_BASE = []
_LOCATIONS = (
    'weights.bin',
    'sub/weights.bin',
    '../canary',
    '/dev/zero',
    '/etc/passwd',
    '/dev/stdin',
    'link.bin',
    'folder',
    'none.bin',
    '',
    '.',
    '..',
    'a\0b',
    'sub/../weights.bin',
    './weights.bin',
    'file:weights.bin',
    'x' * 5000,
    'sub\\..\\..\\x',
)


def prepare(folder):
    for spelling in (None, 'ascend', 'tensorrt', 'onnx'):
        for fixed in (True, False):
            _BASE.append(
                detector(spelling, batch=1 if fixed else 'N', size=(32, 32) if fixed else ('H', 'W'))
            )
    for base in list(_BASE):
        for change in (_with_sigmoid, _with_other_heads):
            model = onnx.ModelProto()
            model.CopyFrom(base)
            change(model)
            _BASE.append(model)
    with open(os.path.join(folder, 'weights.bin'), 'wb') as file:
        file.write(np.arange(4096, dtype=np.float32).tobytes())
    os.mkdir(os.path.join(folder, 'folder'))
    os.mkdir(os.path.join(folder, 'sub'))
    os.symlink('/etc/passwd', os.path.join(folder, 'link.bin'))


def _with_sigmoid(model):
    """Make hm a probability, which is kept at peaks alone."""
    for node in model.graph.node:
        node.output[:] = ['logits' if name == 'hm' else name for name in node.output]
    model.graph.node.extend(
        [
            helper.make_node('Sigmoid', ['logits'], ['heat']),
            helper.make_node('MaxPool', ['heat'], ['top'], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node('Equal', ['top', 'heat'], ['same']),
            helper.make_node('Cast', ['same'], ['keep'], to=TensorProto.FLOAT),
            helper.make_node('Mul', ['heat', 'keep'], ['hm']),
        ]
    )


def _with_other_heads(model):
    """Make reg another head, and wh a size for each class."""
    names = {'reg': 'hps', 'reg.weight': 'hps.2.weight'}
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
        if tensor.name.startswith('wh.'):
            values = np.concatenate([numpy_helper.to_array(tensor)] * 4)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)
        if value.name == 'wh':
            value.type.tensor_type.shape.dim[1].dim_value = 8


def make(draw, folder, canary):
    path = os.path.join(folder, 'case.onnx')
    model = onnx.ModelProto()
    model.CopyFrom(draw.choice(_BASE))
    kind = draw.choice(
        ('graph', 'graph', 'graph', 'graph', 'external', 'growth', 'growth', 'nested', 'bytes')
    )
    if kind == 'external':
        _keep_outside(draw, model)
    elif kind == 'growth':
        _grow(draw, model)
    elif kind == 'nested':
        _nest(draw, model)
    if kind != 'bytes':
        for _ in range(draw.choice((0, 1, 1, 2, 5)) if kind != 'graph' else draw.choice((1, 1, 2, 5))):
            _change(draw, model)
    try:
        data = model.SerializeToString()
    except Exception:  # protobuf's own, for text that is none
        data = draw.choice(_BASE).SerializeToString()
    if kind == 'bytes':
        data = mutated(draw, data, [base.SerializeToString() for base in _BASE[:2]])
    with open(path, 'wb') as file:
        file.write(data)
    with open(path + '.way', 'w') as file:
        outputs = draw.choice(('', 'hm,wh,reg', 'hm,wh,reg', 'hm,wh', 'hm,wh,reg,hps'))
        file.write(draw.choice(list(TARGETS)) + ' ' + outputs)
    return path


def _change(draw, model):
    """Damage one thing in a graph."""
    graph = model.graph
    change = draw.randrange(17)
    node = draw.choice(graph.node) if graph.node else None
    names = [name for other in graph.node for name in list(other.input) + list(other.output)] + [
        'hm',
        'wh',
        'image',
        '',
        'nowhere',
    ]
    if node is None:
        return
    if change == 0 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(names)  # also makes cycles
    elif change == 1 and node.output:
        node.output[draw.randrange(len(node.output))] = draw.choice(names)
    elif change == 2:
        del node.input[draw.randrange(len(node.input) + 1) :]
    elif change == 3:
        node.input.extend(draw.choice(names) for _ in range(draw.choice((1, 9, 3000))))
    elif change == 4:
        node.op_type = draw.choice(
            (
                'Conv',
                'ConvTranspose',
                'DeformConv',
                'DeformableConv2D',
                'DCNv2',
                'Reshape',
                'Concat',
                'Split',
                'Slice',
                'Gather',
                'Shape',
                'BatchNormalization',
                'Upsample',
                'Resize',
                'Dropout',
                'Identity',
                'MaxPool',
                'If',
                'Loop',
                'Scan',
                'TopK',
                'Cast',
                'Unsqueeze',
                'Softmax',
                'Pad',
                'Clip',
                'GridSample',
                'NoSuchOperator',
                '',
            )
        )
    elif change == 5:
        del graph.node[draw.randrange(len(graph.node))]
    elif change == 6:
        graph.node.add().CopyFrom(node)
    elif change == 7 and node.attribute:
        _change_attribute(draw, node.attribute[draw.randrange(len(node.attribute))])
    elif change == 8:
        node.attribute.extend(
            [
                helper.make_attribute(
                    draw.choice(
                        (
                            'axis',
                            'perm',
                            'strides',
                            'pads',
                            'dilations',
                            'kernel_shape',
                            'group',
                            'auto_pad',
                            'to',
                            'epsilon',
                            'scales',
                            'mode',
                        )
                    ),
                    draw.choice((-1, 7, 1 << 62, 1.5, 'text', [1, 1], [0, 0, 0, 0], [-1] * 4, [1 << 40] * 2)),
                )
            ]
        )
    elif change == 9 and graph.initializer:
        _change_tensor(draw, draw.choice(graph.initializer))
    elif change == 10 and graph.initializer:
        graph.initializer.remove(draw.choice(graph.initializer))
    elif change == 11:
        _change_value(draw, draw.choice(list(graph.input) + list(graph.output)))
    elif change == 12:
        values = draw.choice((graph.input, graph.output))
        if draw.random() < 0.5 and values:
            values.add().CopyFrom(draw.choice(values))
        elif values:
            del values[draw.randrange(len(values))]
    elif change == 13 and model.opset_import:
        entry = draw.choice(model.opset_import)
        entry.version = draw.choice((-1, 0, 1, 7, 9, 11, 13, 18, 19, 22, 99, 1 << 40))
        entry.domain = draw.choice(('', '', 'ai.onnx', 'com.example', 'ai.onnx.ml'))
    elif change == 14:
        model.ir_version = draw.choice((-1, 0, 1, 3, 6, 9, 99, 1 << 40))
    elif change == 15:
        node.domain = draw.choice(('com.example', 'ai.onnx', 'com.microsoft', 'centernet.aside'))
    else:
        model.metadata_props.add(
            key=draw.choice(('target', 'heads', 'arch', 'classes', 'mean', 'std', 'input_size')),
            value=draw.choice(
                (
                    'ascend',
                    '',
                    '-1',
                    'x' * 999,
                    '[0.5, 0.5, 0.5]',
                    '[1, 1, 1]',
                    '[[1e999]]',
                    '["a"]',
                    '[' * 999,
                )
            ),
        )


def _change_attribute(draw, attribute):
    change = draw.randrange(5)
    if change == 0:
        attribute.type = draw.choice(AttributeProto.AttributeType.values())
    elif change == 1:
        attribute.i = draw.choice(NUMBERS[:-1]) - (draw.choice((0, 1 << 62)))
    elif change == 2:
        attribute.ints.extend([draw.choice((0, -1, 1, 1 << 40))] * draw.choice((1, 4, 500)))
    elif change == 3:
        del attribute.ints[: draw.randrange(5)]
    else:
        attribute.name = draw.choice(('', 'axis', 'pads', 'strides'))


def _change_tensor(draw, tensor):
    change = draw.randrange(6)
    if change == 0:
        tensor.data_type = draw.choice((0, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 22, 99))
    elif change == 1 and tensor.dims:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(
            (0, 1, 2, 5, -1, 1 << 31, 1 << 40, (1 << 63) - 1)
        )
    elif change == 2:
        tensor.raw_data = tensor.raw_data[: draw.randrange(len(tensor.raw_data) + 1)]
    elif change == 3:
        del tensor.dims[:]
        tensor.dims.extend(draw.choice(((), (1 << 20, 1 << 20), (0, 1 << 62), (1,) * 40, (0,))))
    elif change == 4:
        tensor.float_data.extend([float('nan')] * draw.choice((1, 100)))
    else:
        tensor.name = draw.choice(('', 'image', 'hm', 'stem.weight'))


def _change_value(draw, value):
    shape = value.type.tensor_type.shape
    change = draw.randrange(4)
    if change == 0:
        value.type.tensor_type.elem_type = draw.choice((0, 2, 6, 7, 8, 9, 10, 11, 99))
    elif change == 1 and shape.dim:
        shape.dim[draw.randrange(len(shape.dim))].dim_value = draw.choice(
            (0, -1, 1, 31, 64, 1 << 20, 1 << 40, (1 << 63) - 1)
        )
    elif change == 2:
        shape.dim.add().dim_value = 1
    elif shape.dim:
        del shape.dim[draw.randrange(len(shape.dim))]


def _keep_outside(draw, model):
    """Keep tensors in other files."""
    for tensor in draw.sample(
        list(model.graph.initializer), draw.choice((1, 1, len(model.graph.initializer)))
    ):
        size = len(tensor.raw_data)
        if draw.random() < 0.8:
            tensor.ClearField('raw_data')
        tensor.data_location = TensorProto.EXTERNAL
        location = draw.choice(_LOCATIONS) if draw.random() < 0.6 else 'weights.bin'
        for key, value in (
            ('location', location),
            ('offset', draw.choice(('0', '16', '-1', '99999999999', 'x', '1' * 30))),
            ('length', draw.choice((str(size), str(size), '0', '-1', '99999999999', ''))),
        ):
            if draw.random() < 0.8:
                tensor.external_data.add(key=key, value=value)


def _grow(draw, model):
    """Add nodes whose result is far larger than they are, before the features or beside them."""
    nodes, start = [], 'const'
    base = numpy_helper.from_array(np.ones(draw.choice((1, 64, 4096)), np.float32), 'const')
    huge = numpy_helper.from_array(
        np.array(draw.choice(([1 << 30], [1 << 40], [1 << 20, 1 << 20], [-1], [1 << 16] * 4)), np.int64),
        'huge',
    )
    index = numpy_helper.from_array(np.zeros((1000, draw.choice((1, 4))), np.int64), 'index')
    model.graph.initializer.extend([base, huge, index])
    kind = draw.randrange(6)
    if kind == 0:
        nodes.append(helper.make_node('ConstantOfShape', ['huge'], ['grown']))
    elif kind == 1:
        nodes.append(helper.make_node('Expand', ['const', 'huge'], ['grown']))
    elif kind in (2, 3):
        for level in range(draw.choice((3, 12, 40))):
            nodes.append(
                helper.make_node('Concat', [start, start], [f'grown{level}'], axis=0)
                if kind == 2
                else helper.make_node('Gather', [start, 'index'], [f'grown{level}'], axis=0)
            )
            start = nodes[-1].output[0]
    elif kind == 4:
        values = (('from', 0), ('to', 1 << draw.choice((20, 40, 62))), ('step', draw.choice((0, 1))))
        model.graph.initializer.extend(
            [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in values]
        )
        nodes.append(helper.make_node('Range', ['from', 'to', 'step'], ['grown']))
    else:
        model.graph.initializer.extend([numpy_helper.from_array(np.ones((200000, 1), np.float32), 'column')])
        nodes += [
            helper.make_node('Unsqueeze', ['const'], ['row'], axes=[0]),
            helper.make_node('Transpose', ['column'], ['long']),
            helper.make_node('Add', ['column', 'long'], ['grown']),
        ]
    grown = nodes[-1].output[0]
    if draw.random() < 0.5:  # an output depends on it
        nodes.append(helper.make_node('Shape', [grown], ['grown.shape']))
        nodes.append(helper.make_node('Reshape', ['features', 'grown.shape'], ['grown.features']))
        for node in model.graph.node:
            node.input[:] = ['grown.features' if name == 'features' else name for name in node.input]
    old = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(old[:2] + nodes + old[2:])


def _nest(draw, model):
    """Add nested graphs, also through each other's names."""
    inner = helper.make_graph(
        [helper.make_node('Identity', [draw.choice(('features', 'hm', 'x'))], ['x'])],
        'inner',
        [],
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, None)],
    )
    for level in range(draw.choice((1, 5, 20, 28))):
        node = helper.make_node('If', ['condition'], ['x'], then_branch=inner, else_branch=inner)
        if level >= 3:
            del node.attribute[1:]
        inner = helper.make_graph(
            [node], 'inner', [], [helper.make_tensor_value_info('x', TensorProto.FLOAT, None)]
        )
    model.graph.initializer.extend([numpy_helper.from_array(np.array(True), 'condition')])
    model.graph.node.extend(
        [
            helper.make_node(
                'If',
                ['condition'],
                [draw.choice(('y', 'features', 'hm'))],
                then_branch=inner,
                else_branch=inner,
            )
        ]
    )


def run(path):
    """Repair the file, check the rules, and run it in onnxruntime with one image; each may reject it."""
    with open(path + '.way') as file:
        target, _, outputs = file.read().partition(' ')
    refusals = []
    for step in (
        lambda: repair(path, path + '.out', target, outputs.split(',') if outputs else None),
        lambda: rules.check(path, target),
        lambda: _evaluate(path),
    ):
        try:
            step()
        except (ModelError, OptionError) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _evaluate(path):
    runner = OnnxRunner(path, 'cpu', 1)
    image = np.zeros((1, 3) + (runner.info.fixed or (32, 32)), np.float32)
    runner.outputs(image)
    runner(image)


def allowance(path):
    return 2048 * MIB + 200 * os.path.getsize(path)
