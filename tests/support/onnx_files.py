"""Small ONNX detectors, written node by node, for tests."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CHANNELS = {'hm': 4, 'wh': 2, 'reg': 2}


def weights(seed=3, width=8, dg=1):
    """What the small network is made of, by name."""
    random = np.random.RandomState(seed)

    def draw(*shape):
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)

    found = {
        'stem.weight': draw(width, 3, 4, 4),
        'dcn.weight': draw(width, width, 3, 3),
        'dcn.bias': draw(width),
        'predict.weight': draw(27 * dg, width, 3, 3) * 2,
        'predict.bias': draw(27 * dg),
    }
    for name, channels in CHANNELS.items():
        found[name + '.weight'] = draw(channels, width, 1, 1) * 3
    found['wh.bias'] = np.full(2, 6, np.float32)
    return found


def detector(
    spelling=None,
    values=None,
    batch='N',
    size=('H', 'W'),
    opset=None,
    outputs=('hm', 'wh', 'reg'),
    dg=1,
    metadata=(),
):
    """A detector with a stride-4 convolution, one deformable convolution (spelled as asked, or an ordinary
    one), and three heads.

    spelling: None, 'ascend', 'tensorrt' or 'onnx'.
    """
    values = dict(values or weights(dg=dg))
    taps = 9 * dg
    nodes = [
        helper.make_node(
            'Conv',
            ['image', 'stem.weight'],
            ['stem'],
            'stem',
            kernel_shape=[4, 4],
            strides=[4, 4],
            pads=[0] * 4,
        ),
        helper.make_node('Relu', ['stem'], ['features'], 'relu'),
    ]
    order = np.arange(3 * taps)
    if spelling == 'ascend':  # all x, all y, then the mask
        order[: 2 * taps] = np.concatenate([np.arange(1, 2 * taps, 2), np.arange(0, 2 * taps, 2)])
    values['predict.weight'], values['predict.bias'] = (
        values['predict.weight'][order],
        values['predict.bias'][order],
    )
    if spelling is None:
        del values['predict.weight'], values['predict.bias']
        nodes.append(
            helper.make_node(
                'Conv',
                ['features', 'dcn.weight', 'dcn.bias'],
                ['deformed'],
                'dcn',
                kernel_shape=[3, 3],
                pads=[1] * 4,
            )
        )
    else:
        for name, (start, end) in (('place', (0, 2 * taps)), ('logit', (2 * taps, 3 * taps))):
            values['predict.weight.' + name] = values['predict.weight'][start:end]
            values['predict.bias.' + name] = values['predict.bias'][start:end]
            nodes.append(
                helper.make_node(
                    'Conv',
                    ['features', 'predict.weight.' + name, 'predict.bias.' + name],
                    [name],
                    name,
                    kernel_shape=[3, 3],
                    pads=[1] * 4,
                )
            )
        del values['predict.weight'], values['predict.bias']
        nodes.append(helper.make_node('Sigmoid', ['logit'], ['mask'], 'mask'))
    if spelling == 'ascend':
        nodes.append(helper.make_node('Concat', ['place', 'mask'], ['offsets'], 'offsets', axis=1))
        nodes.append(
            helper.make_node(
                'DeformableConv2D',
                ['features', 'dcn.weight', 'offsets', 'dcn.bias'],
                ['deformed'],
                'dcn',
                strides=[1, 1],
                pads=[1, 1],
                dilations=[1, 1],
                groups=1,
                deformable_groups=dg,
            )
        )
    elif spelling == 'tensorrt':
        nodes.append(
            helper.make_node(
                'DCNv2',
                ['features', 'place', 'mask', 'dcn.weight', 'dcn.bias'],
                ['deformed'],
                'dcn',
                stride=1,
                padding=1,
                dilation=1,
                groups=1,
                deformable_group=dg,
            )
        )
    elif spelling == 'onnx':
        nodes.append(
            helper.make_node(
                'DeformConv',
                ['features', 'dcn.weight', 'place', 'dcn.bias', 'mask'],
                ['deformed'],
                'dcn',
                kernel_shape=[3, 3],
                strides=[1, 1],
                pads=[1] * 4,
                dilations=[1, 1],
                group=1,
                offset_group=dg,
            )
        )
    for name in outputs:
        bias = [name + '.bias'] if name + '.bias' in values else []
        nodes.append(
            helper.make_node('Conv', ['deformed', name + '.weight'] + bias, [name], name, kernel_shape=[1, 1])
        )
    heights = [side // 4 if isinstance(side, int) else None for side in size]
    graph = helper.make_graph(
        nodes,
        'detector',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [batch, 3, *size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, CHANNELS[name], *heights])
            for name in outputs
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items()],
    )
    opset = opset or (19 if spelling == 'onnx' else 11)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], producer_name='tests')
    model.ir_version = 6 if opset < 19 else 9
    for key, value in metadata:
        model.metadata_props.add(key=key, value=value)
    return model
