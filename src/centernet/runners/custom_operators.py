"""Translate the deformable convolutions of ATC and of TensorRT-CenterNet to ONNX's own, so that their files
run on a PC.

This module is written from the operators' descriptions and shares no code with the exporter: a file whose
channels are in the wrong order gives wrong values here, as it would on its device. That holds as far as
DeformConv. On onnxruntime < 1.26, which cannot run DeformConv, the nodes made here (and those of ``onnx``
files) are replaced by :mod:`centernet.onnxfile.decompose`, the code that also writes ``portable`` files.
There these prove it: verification compares with PyTorch, whose operator shares no code with it; tests compare
it with the reference operator (:mod:`centernet.dcn.reference`); and both stacks export equal graphs
(tests/parity), which the modern one runs with onnxruntime's own DeformConv.

``DeformableConv2D``
    Inputs x, weight, offsets, bias. ``offsets`` has dx of all taps, then dy of all taps, then the mask (after
    its sigmoid). Attributes strides, pads, dilations, groups, deformable_groups.
``DCNv2``
    Inputs x, offset, mask, weight, bias. ``offset`` has dy, dx tap by tap. Attributes stride, padding,
    dilation, groups, deformable_group.
``DeformConv``
    What both become, from ONNX's opset 19. Inputs X, W, offset, B, mask. ``offset`` has dy, dx tap by tap.
"""

from typing import Dict, Tuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import ModelError

#: the operators that only their own runtimes know
CUSTOM_OPERATORS = ('DCNv2', 'DeformableConv2D')
#: the standard operator, and the first opset that has it
STANDARD_OPERATOR, STANDARD_OPSET = 'DeformConv', 19
# A domain whose nodes onnx's converter ignores.
_ASIDE = 'centernet.aside'


def operators(model: onnx.ModelProto) -> Dict[str, int]:
    """Count the deformable convolutions of a model: operator -> count, without operators that it has not."""
    counts = {}
    for node in model.graph.node:
        if node.op_type in CUSTOM_OPERATORS + (STANDARD_OPERATOR,):
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def opset(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators that a model uses. Raise ModelError if it names none."""
    for entry in model.opset_import:
        if entry.domain in ('', 'ai.onnx'):
            return entry.version
    raise ModelError("the model names no opset of ONNX's own operators")


def to_standard(model: onnx.ModelProto) -> None:
    """Replace every custom deformable convolution by DeformConv, with nodes that bring its channels into
    order, in place.

    The opset stays as it is (:func:`raise_opset`).

    Raises:
        ModelError: a node's inputs or attributes are not those of its operator, or its weight is not stored
            in the file.
    """
    shapes = _stored_shapes(model.graph)
    nodes = []
    for index, node in enumerate(model.graph.node):
        if node.op_type in CUSTOM_OPERATORS:
            name = node.name or f'{node.op_type}_{index}'
            added, constants = (_from_ascend if node.op_type == 'DeformableConv2D' else _from_tensorrt)(
                node, name, shapes
            )
            nodes += added
            model.graph.initializer.extend(
                numpy_helper.from_array(value, key) for key, value in constants.items()
            )
        else:
            nodes.append(node)
    nodes = [_copy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model at the opset of DeformConv, with its deformable convolutions as they are. A model that
    is as new is returned itself.

    Raises:
        ModelError: a node has no equivalent in that opset.
    """
    if opset(model) >= STANDARD_OPSET:
        return model
    from onnx import version_converter

    for node in model.graph.node:
        if node.op_type in CUSTOM_OPERATORS + (STANDARD_OPERATOR,):
            node.domain = _ASIDE
    model.opset_import.extend([helper.make_opsetid(_ASIDE, 1)])
    try:
        model = version_converter.convert_version(model, STANDARD_OPSET)
    except Exception as error:  # a RuntimeError of its own kind, from C++
        raise ModelError(
            f'cannot raise opset {opset(model)} to {STANDARD_OPSET}: {str(error).strip().splitlines()[0]}'
        ) from error
    for node in model.graph.node:
        if node.domain == _ASIDE:
            node.domain = ''
    kept = [entry for entry in model.opset_import if entry.domain != _ASIDE]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = max(model.ir_version, 8)
    return model


def _from_ascend(node, name, shapes):
    """(nodes, constants) for a DeformableConv2D."""
    x, weight, offsets, bias = _inputs(node, name, ('x', 'weight', 'offsets', 'bias'), optional=1)
    values = _attributes(node, name, ('strides', 'pads', 'dilations'), ('groups', 'deformable_groups'))
    total = _taps(shapes, weight, name) * values['deformable_groups']
    # Channel c of the interleaved order is dy (even c) or dx (odd c) of tap c // 2.
    order = np.array([channel for tap in range(total) for channel in (total + tap, tap)], np.int64)
    key = f'{name}/{{}}'.format
    constants = {key('order'): order, key('last'): np.arange(2 * total, 3 * total)}
    nodes = [
        helper.make_node('Gather', [offsets, key('order')], [key('offset')], key('Gather_offset'), axis=1),
        helper.make_node('Gather', [offsets, key('last')], [key('mask')], key('Gather_mask'), axis=1),
        _standard(node, name, (x, weight, key('offset'), bias, key('mask')), values),
    ]
    return nodes, constants


def _from_tensorrt(node, name, _shapes):
    """(nodes, constants) for a DCNv2."""
    x, offset, mask, weight, bias = _inputs(node, name, ('x', 'offset', 'mask', 'weight', 'bias'))
    values = _attributes(node, name, ('stride', 'padding', 'dilation'), ('groups', 'deformable_group'))
    values = {
        'strides': values['stride'],
        'pads': values['padding'],
        'dilations': values['dilation'],
        'groups': values['groups'],
        'deformable_groups': values['deformable_group'],
    }
    return [_standard(node, name, (x, weight, offset, bias, mask), values)], {}


def _standard(node, name, inputs, values):
    return helper.make_node(
        STANDARD_OPERATOR,
        list(inputs),
        list(node.output),
        name,
        strides=list(values['strides']),
        pads=list(values['pads']) * 2,
        dilations=list(values['dilations']),
        group=values['groups'],
        offset_group=values['deformable_groups'],
    )


def _inputs(node, name, names, optional=0):
    """The names of a node's inputs, '' for an optional one that is omitted."""
    inputs = list(node.input)
    least = len(names) - optional
    if not least <= len(inputs) <= len(names) or not all(inputs[:least]):
        raise ModelError(
            '{} ({}) has {} inputs; it takes {}'.format(name, node.op_type, len(inputs), ', '.join(names))
        )
    return inputs + [''] * (len(names) - len(inputs))


def _attributes(node, name, pairs, singles) -> Dict[str, object]:
    """A node's attributes: pairs as two ints (one int stands for both directions), singles as an int. The
    default is 1, of padding 0."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    values = {}
    for key in pairs:
        value = found.get(key, 0 if key in ('pads', 'padding') else 1)
        value = [value] * 2 if isinstance(value, int) else list(value)
        if len(value) == 4 and value[:2] == value[2:]:
            value = value[:2]
        values[key] = value if len(value) == 2 else value * 2
        if len(values[key]) != 2 or not all(isinstance(item, int) for item in values[key]):
            raise ModelError(f'{name} ({node.op_type}): {key} is {found[key]}; it should be two integers')
    for key in singles:
        values[key] = found.get(key, 1) or 1
        if not isinstance(values[key], int):
            raise ModelError(f'{name} ({node.op_type}): {key} is {found[key]}; it should be an integer')
    return values


def _taps(shapes, weight, name):
    if weight not in shapes or len(shapes[weight]) != 4:
        raise ModelError(f'{name}: its weight {weight} is not a stored tensor of four dimensions')
    return int(shapes[weight][2] * shapes[weight][3])


def _stored_shapes(graph) -> Dict[str, Tuple[int, ...]]:
    """Name -> shape of the tensors that are stored in the file as initializers or Constant nodes."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant':
            for attribute in node.attribute:
                if attribute.name == 'value':
                    shapes[node.output[0]] = tuple(attribute.t.dims)
    return shapes


def _copy(node) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied
