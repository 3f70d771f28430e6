"""What the readers of exported files refuse or silently read wrongly, checked on the file.

ATC's rules are those of its parser for DeformableConv2D, TensorRT-CenterNet's those of its onnx-tensorrt
parser and of its decoder; where they are from is in docs/operators.md. Neither runs here, so a file that
keeps the rules is not proved to convert.
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np
import onnx

from ..errors import ModelError
from ..onnxfile import deform_conv
from ..onnxfile.graph import Graph, Node, Value, load
from ..onnxfile.loading import damages_named
from ..onnxfile.shapes import infer_shapes
from .targets import TARGETS, Target, find_target

_PAIRS, _COUNTS = ('strides', 'pads', 'dilations'), ('groups', 'deformable_groups')
_NUMBERS = ('stride', 'padding', 'dilation', 'groups', 'deformable_group')
_INPUTS = {
    'ascend': ('x', 'weight', 'offsets', 'bias'),
    'tensorrt': ('x', 'offset', 'mask', 'weight', 'bias'),
}
# Weights of more elements than this say nothing about shapes.
_SMALL = 1024


class Violation(NamedTuple):
    """A rule that is broken; ``node``: the name of the node, '' where it is about the whole file."""

    rule: str
    node: str
    message: str


class Report(NamedTuple):
    """True where no rule is broken. ``checked``: the rules that were looked at. ``target`` None: none
    applies, ``why`` says it."""

    target: Optional[str]
    checked: Tuple[str, ...]
    violations: Tuple[Violation, ...]
    why: str = ''

    def __bool__(self) -> bool:
        return not self.violations


def check(path: str, target: Optional[str] = None) -> Report:
    """Check a file against its reader's rules.

    Args:
        path: the ONNX file.
        target: a name in :data:`~centernet.export.targets.TARGETS`; None takes what the file's metadata or its
            operators say.

    Raises:
        ModelError: the file cannot be read.
        OptionError: an unknown target.
    """
    graph = load(path)
    with damages_named(path):
        return check_graph(graph, target)


def check_graph(graph: Graph, target: Optional[str] = None) -> Report:
    """:func:`check` for a graph in memory."""
    claimed = target is not None or 'target' in graph.metadata
    target = target_of(graph) if target is None else find_target(target)
    if target is None:
        return Report(None, (), (), 'the file does not say what it is for, and has no operator that tells')
    violations, checked = [], []
    for name in target.rules:
        if name == 'folded' and target.spelling == 'onnx' and not claimed:
            continue  # somebody else's file in ONNX's own operators, which may be as slow as it likes
        found = RULES[name](graph, target)
        if found is not None:
            checked.append(name)
            violations += [Violation(name, node, message) for node, message in found]
    return Report(target.name, tuple(checked), tuple(violations))


def target_of(graph: Graph) -> Optional[Target]:
    """What a file is for: as its metadata says, else as its operators tell, else None."""
    said = TARGETS.get(graph.metadata.get('target'))
    if said is not None:
        return said
    found = {deform_conv.spelling(node) for node in graph.nodes} - {None}
    return next((target for target in TARGETS.values() if target.spelling in found), None)


# Rules: (graph, target) -> list of (node name, message), or None where the rule cannot be checked here.


def _opset(graph, target):
    oldest, newest = target.opsets
    if not oldest <= graph.opset <= newest:
        return [('', f'opset {graph.opset}; {target.reader} reads {oldest} to {newest}')]
    return []


def _operators(graph, target):
    """The deformable convolutions are the target's, and everything else is ONNX's own."""
    found = []
    for node in graph.nodes:
        spelling = deform_conv.spelling(node)
        if node.domain:
            found.append((_name(node), f'{node.op_type} is of the domain {node.domain}, not the default one'))
        elif spelling and spelling != target.spelling:
            right = f'; {_operator(target)} is' if target.spelling else ', which has standard operators only'
            found.append((_name(node), f'{node.op_type} is not for this target{right}'))
        elif not spelling and not _is_standard(node, graph.opset):
            found.append((_name(node), f'{node.op_type} is not an operator of opset {graph.opset}'))
    return found


def _inputs(graph, target):
    """Deformable convolutions have all their inputs, and their weights are stored."""
    found = []
    names = _INPUTS[target.spelling]
    for node in graph.find(_operator(target)):
        given = [name for name in node.inputs if name]
        if len(given) < len(node.inputs) or not len(names) - (target.spelling == 'ascend') <= len(
            given
        ) <= len(names):
            found.append((_name(node), '{} inputs; it takes {}'.format(len(given), ', '.join(names))))
            continue
        for name, value in zip(names, node.inputs):
            if name in ('weight', 'bias') and value not in graph.initializers:
                found.append((_name(node), f'its {name} {value} is not an initializer'))
            elif name in ('weight', 'bias') and graph.initializers[value].dtype != np.float32:
                found.append(
                    (_name(node), f'its {name} {value} is {graph.initializers[value].dtype}, not float32')
                )
    return found


def _attributes(graph, target):
    """The deformable convolutions' attributes have the form that the reader takes."""
    return {'ascend': _ascend_attributes, 'tensorrt': _tensorrt_attributes}[target.spelling](graph)


def _ascend_attributes(graph):
    found = []
    for node in graph.find('DeformableConv2D'):
        for key in _PAIRS:
            value = node.attributes.get(key)
            if isinstance(value, int):
                found.append(
                    (
                        _name(node),
                        (
                            f'{key} is the number {value}: ATC skips it and takes its default; a list of two'
                            ' is read'
                        ),
                    )
                )
            elif (
                not isinstance(value, list)
                or len(value) != 2
                or not all(isinstance(item, int) for item in value)
            ):
                found.append((_name(node), f'{key} is {_show(value)}; ATC takes a list of two whole numbers'))
        if node.attributes.get('groups') != 1 or not isinstance(node.attributes.get('groups'), int):
            found.append(
                (
                    _name(node),
                    "groups is {}; it has to be written as 1 (ATC's default is 0)".format(
                        _show(node.attributes.get('groups'))
                    ),
                )
            )
        value = node.attributes.get('deformable_groups')
        if not isinstance(value, int) or value < 1:
            found.append(
                (_name(node), f'deformable_groups is {_show(value)}; ATC takes a whole number of at least 1')
            )
        found += _unknown(node, _PAIRS + _COUNTS)
    return found


def _tensorrt_attributes(graph):
    found = []
    for node in graph.find('DCNv2'):
        for key in _NUMBERS:
            value = node.attributes.get(key)
            if not isinstance(value, int):
                found.append((_name(node), f'{key} is {_show(value)}; the parser takes a number'))
        found += _unknown(node, _NUMBERS)
    return found


def _offsets(graph, target):
    """Offsets have as many channels as the taps need, and the size of the output."""
    try:
        shapes = infer_shapes(graph)
        convolutions = [(node, deform_conv.read(graph, node)) for node in graph.find(_operator(target))]
    except ModelError:
        return None  # the rules about inputs and attributes say what is wrong
    found = []
    for node, c in convolutions:
        if c.kernel is None:
            continue
        taps = c.deformable_groups * c.kernel[0] * c.kernel[1]
        output = shapes.get(c.output)
        for value, channels in ((c.packed, 3 * taps), (c.offset, 2 * taps), (c.mask, taps)):
            if not value:
                continue
            shape = shapes.get(value)
            if not shape or len(shape) != 4 or not isinstance(shape[1], int):
                found.append((_name(node), f'how many channels {value} has cannot be told from the file'))
            elif shape[1] != channels:
                found.append(
                    (
                        _name(node),
                        (
                            f'{value} has {shape[1]} channels; {c.kernel[0] * c.kernel[1]} taps in'
                            f' {c.deformable_groups} deformable groups need {channels}'
                        ),
                    )
                )
            elif output and shape[2:] != output[2:]:
                found.append(
                    (
                        _name(node),
                        '{} is {} x {}, the output {} x {}'.format(*(value,) + shape[2:] + output[2:]),
                    )
                )
    return found


def _batch(graph, target):
    found = []
    for value in graph.inputs:
        if value.shape is None or not all(isinstance(side, int) and side > 0 for side in value.shape):
            found.append(('', f'the input {value.name} is {_show(value.shape)}; every side has to be fixed'))
        elif not target.batches and value.shape[0] != 1:
            found.append(('', f'a batch of {value.shape[0]}; {target.reader} takes 1'))
    return found


def _outputs(graph, target):
    """The outputs stand in the order by which the reader tells them."""
    names = graph.output_names()
    if names == list(target.outputs):
        return []
    return [
        (
            '',
            'the outputs are {}; {} takes {}, in this order'.format(
                ', '.join(names), target.reader, ', '.join(target.outputs)
            ),
        )
    ]


def _folded(graph, _target):
    """No BatchNormalization is left that belongs into the convolution before it."""
    producers, consumers = graph.producers(), graph.consumers()
    found = []
    for node in graph.find('BatchNormalization'):
        before = producers.get(node.input(0))
        if (
            before is not None
            and (before.op_type in ('Conv', 'ConvTranspose') or deform_conv.spelling(before))
            and len(consumers[node.input(0)]) == 1
            and node.input(0) not in graph.output_names()
        ):
            found.append(
                (
                    _name(node),
                    (
                        f'a BatchNormalization that belongs into {_name(before)} before it: centernet modify'
                        ' folds it'
                    ),
                )
            )
    return found


def _checker(graph, _target):
    """ONNX's own checker, with an ordinary convolution in place of each operator that it cannot know."""
    if graph.opset > onnx.defs.onnx_opset_version():
        return None
    model = _with_plain_convolutions(graph)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        return [('', ' '.join(str(error).split())[:300])]
    return []


#: name -> rule; which apply to a target, the target says
RULES = {
    'opset': _opset,
    'operators': _operators,
    'folded': _folded,
    'checker': _checker,
    'inputs': _inputs,
    'attributes': _attributes,
    'offsets': _offsets,
    'batch': _batch,
    'outputs': _outputs,
}


def _with_plain_convolutions(graph):
    """An onnx.ModelProto of the graph's structure, without its large weights (they become inputs of the same
    shape).

    Operators that ONNX does not have become convolutions whose output has the same shape.
    """
    plain = graph.copy()
    for place, node in enumerate(graph.nodes):
        if node.op_type == 'DeformConv' or not deform_conv.spelling(node):
            continue
        try:
            c = deform_conv.read(graph, node)
        except ModelError:
            continue
        attributes = [
            ('strides', list(c.stride)),
            ('pads', list(c.padding * 2)),
            ('dilations', list(c.dilation)),
            ('group', c.groups),
        ]
        plain.nodes[place] = Node(
            'Conv', [name for name in (c.x, c.weight, c.bias) if name], [c.output], attributes, node.name
        )
    for name, array in list(plain.initializers.items()):
        if array.size > _SMALL:
            del plain.initializers[name]
            plain.inputs.append(Value(name, array.dtype, array.shape))
    return plain.to_model()


def _is_standard(node, opset):
    try:
        return not onnx.defs.get_schema(node.op_type, opset, '').deprecated
    except Exception:  # onnx's SchemaError, which old releases do not export
        return opset > onnx.defs.onnx_opset_version() and onnx.defs.has(node.op_type)


def _operator(target):
    return deform_conv.OPERATORS[target.spelling or 'onnx']


def _unknown(node, known):
    return [
        (_name(node), 'the attribute {} is not one of {}'.format(key, ', '.join(known)))
        for key in node.attributes
        if key not in known
    ]


def _name(node):
    return node.name or (node.outputs or [node.op_type])[0]


def _show(value):
    return 'missing' if value is None else str(value if isinstance(value, (int, float, str)) else list(value))
