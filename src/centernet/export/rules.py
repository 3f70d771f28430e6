"""The rules of the programs that read exported files: what they reject, or silently misread.

ATC's rules are those of its parser for DeformableConv2D, TensorRT-CenterNet's those of its onnx-tensorrt
parser and of its decoder (docs/export.md). Neither program runs here, so a file that keeps the rules is not
proved to convert.
"""

from typing import Iterator, NamedTuple, Optional, Tuple, Union

import numpy as np
import onnx

from ..errors import ModelError
from ..onnxfile import deform_conv
from ..onnxfile.graph import Graph, Node, Value, load
from ..onnxfile.loading import damage_named
from ..onnxfile.shapes import infer_shapes
from .targets import TARGETS, Target, find_target

# Weights of more elements than this are irrelevant to shapes.
_SMALL = 1024
#: a node, or '' for the whole file, and what is wrong with it
_Found = Iterator[Tuple[Union[Node, str], str]]


class Violation(NamedTuple):
    """A broken rule. ``node`` is the name of the node, '' if the rule is about the whole file."""

    rule: str
    node: str
    message: str


class Report(NamedTuple):
    """The result of a check; true if no rule is broken.

    ``checked``: the rules that were checked. If ``target`` is None, no rules apply, and ``why`` is the
    reason.
    """

    target: Optional[str]
    checked: Tuple[str, ...]
    violations: Tuple[Violation, ...]
    why: str = ''

    def __bool__(self) -> bool:
        return not self.violations


class _UncheckableError(Exception):
    """A rule cannot be checked here."""


def check(path: str, target: Optional[str] = None) -> Report:
    """Check a file against the rules of its reader.

    Args:
        path: the ONNX file.
        target: a name in :data:`~centernet.export.targets.TARGETS`; None takes it from the file's metadata or
            operators.

    Raises:
        ModelError: the file cannot be read.
        OptionError: the target is unknown.
    """
    graph = load(path)
    with damage_named(path):
        return check_graph(graph, target)


def check_graph(graph: Graph, target: Optional[str] = None) -> Report:
    """:func:`check` for a graph in memory."""
    claimed = target is not None or 'target' in graph.metadata
    found = target_of(graph) if target is None else find_target(target)
    if found is None:
        return Report(None, (), (), 'the file does not name its target, and has no operator that tells')
    violations, checked = [], []
    for rule in found.rules:
        if rule == 'folded' and found.spelling == 'onnx' and not claimed:
            continue  # somebody else's file in ONNX's own operators may be as slow as it likes
        try:
            broken = list(RULES[rule](graph, found))
        except _UncheckableError:
            continue
        checked.append(rule)
        violations += [Violation(rule, node and _name(node), message) for node, message in broken]
    return Report(found.name, tuple(checked), tuple(violations))


def target_of(graph: Graph) -> Optional[Target]:
    """The target of a file by its metadata, else by its operators, else None."""
    named = TARGETS.get(graph.metadata.get('target'))
    if named is not None:
        return named
    spellings = {deform_conv.spelling_of(node) for node in graph.nodes} - {None}
    return next((target for target in TARGETS.values() if target.spelling in spellings), None)


# Rules: (graph, target) -> what is wrong. They raise _UncheckableError if they cannot be checked here.


def _opset(graph: Graph, target: Target) -> _Found:
    oldest, newest = target.opsets
    if not oldest <= graph.opset <= newest:
        yield '', f'opset {graph.opset}; {target.reader} reads {oldest} to {newest}'


def _operators(graph: Graph, target: Target) -> _Found:
    """The deformable convolutions are the target's, and everything else is ONNX's own."""
    for node in graph.nodes:
        spelling = deform_conv.spelling_of(node)
        if node.domain:
            yield node, f'{node.op_type} is of the domain {node.domain}, not the default one'
        elif spelling and spelling != target.spelling:
            right = f'; {_operator(target)} is' if target.spelling else ', which has standard operators only'
            yield node, f'{node.op_type} is not for this target{right}'
        elif not spelling and not _is_standard(node, graph.opset):
            yield node, f'{node.op_type} is not an operator of opset {graph.opset}'


def _inputs(graph: Graph, target: Target) -> _Found:
    """Deformable convolutions have all their inputs, and their weights are stored in float32."""
    spelling = deform_conv.SPELLINGS[target.spelling or 'onnx']
    for node in graph.find(spelling.operator):
        roles = dict(zip(spelling.inputs, node.inputs))
        missing = [role for role in spelling.inputs if not roles.get(role) and role not in spelling.optional]
        if missing or not node.inputs[-1] or len(node.inputs) > len(spelling.inputs):
            names = ', '.join(spelling.inputs)
            yield node, f'{len(list(filter(None, node.inputs)))} inputs; it takes {names}'
            continue
        for role in ('weight', 'bias'):
            value = roles.get(role)
            if value and value not in graph.initializers:
                yield node, f'its {role} {value} is not an initializer'
            elif value and graph.initializers[value].dtype != np.float32:
                yield node, f'its {role} {value} is {graph.initializers[value].dtype}, not float32'


def _attributes(graph: Graph, target: Target) -> _Found:
    """The attributes of deformable convolutions have the form that the reader expects."""
    spelling = deform_conv.SPELLINGS[target.spelling or 'onnx']
    check_node = {'ascend': _ascend_attributes, 'tensorrt': _tensorrt_attributes}.get(target.spelling)
    if check_node is None:
        raise _UncheckableError("ONNX's own checker knows the attributes of DeformConv")
    for node in graph.find(spelling.operator):
        for message in check_node(node.attributes):
            yield node, message
        for key in node.attributes:
            if key not in spelling.attributes:
                yield node, 'the attribute {} is not one of {}'.format(key, ', '.join(spelling.attributes))


def _ascend_attributes(attributes) -> Iterator[str]:
    for key in ('strides', 'pads', 'dilations'):
        value = attributes.get(key)
        if isinstance(value, int):
            yield f'{key} is the number {value}: ATC skips it and uses its default; it reads a list of two'
        elif not isinstance(value, list) or [type(item) for item in value] != [int, int]:
            yield f'{key} is {_show(value)}; ATC takes a list of two integers'
    groups, deformable_groups = attributes.get('groups'), attributes.get('deformable_groups')
    if not isinstance(groups, int) or groups != 1:
        yield f"groups is {_show(groups)}; it has to be written as 1 (ATC's default is 0)"
    if not isinstance(deformable_groups, int) or deformable_groups < 1:
        yield f'deformable_groups is {_show(deformable_groups)}; ATC takes an integer of at least 1'


def _tensorrt_attributes(attributes) -> Iterator[str]:
    for key in deform_conv.SPELLINGS['tensorrt'].attributes:
        if not isinstance(attributes.get(key), int):
            yield f'{key} is {_show(attributes.get(key))}; the parser takes an integer'


def _offsets(graph: Graph, target: Target) -> _Found:
    """Offsets have as many channels as the taps need, and the size of the output."""
    try:
        shapes = infer_shapes(graph)
        convolutions = [(node, deform_conv.read(graph, node)) for node in graph.find(_operator(target))]
    except ModelError as error:
        raise _UncheckableError('the rules about inputs and attributes report it') from error
    for node, c in convolutions:
        if c.kernel is None:
            continue
        output, count = shapes.get(c.output), c.kernel[0] * c.kernel[1]
        taps = c.deformable_groups * count
        for value, channels in ((c.packed, 3 * taps), (c.offset, 2 * taps), (c.mask, taps)):
            if not value:
                continue
            shape = shapes.get(value)
            if not shape or len(shape) != 4 or not isinstance(shape[1], int):
                yield node, f'cannot tell from the file how many channels {value} has'
            elif shape[1] != channels:
                need = f'{count} taps in {c.deformable_groups} deformable groups need {channels}'
                yield node, f'{value} has {shape[1]} channels; {need}'
            elif output and shape[2:] != output[2:]:
                yield node, '{} is {} x {}, the output {} x {}'.format(value, *shape[2:] + output[2:])


def _batch(graph: Graph, target: Target) -> _Found:
    for value in graph.inputs:
        if value.shape is None or not all(isinstance(side, int) and side > 0 for side in value.shape):
            yield '', f'the input {value.name} is {_show(value.shape)}; every side has to be fixed'
        elif not target.batches and value.shape[0] != 1:
            yield '', f'a batch of {value.shape[0]}; {target.reader} takes 1'


def _outputs(graph: Graph, target: Target) -> _Found:
    """The outputs are in the order by which the reader tells them apart."""
    names, expected = ', '.join(graph.output_names()), ', '.join(target.outputs)
    if names != expected:
        yield '', f'the outputs are {names}; {target.reader} takes {expected}, in this order'


def _folded(graph: Graph, _target: Target) -> _Found:
    """No BatchNormalization is left that can be folded into the convolution before it."""
    producers, consumers, outputs = graph.producers(), graph.consumers(), graph.output_names()
    for node in graph.find('BatchNormalization'):
        value = node.input(0)
        before = producers.get(value)
        if before is None or len(consumers[value]) > 1 or value in outputs:
            continue
        if before.op_type in ('Conv', 'ConvTranspose') or deform_conv.spelling_of(before):
            yield node, f'a BatchNormalization that can be folded into {_name(before)}; centernet modify does'


def _checker(graph: Graph, _target: Target) -> _Found:
    """ONNX's own checker, with an ordinary convolution in place of each operator that it cannot know."""
    if graph.opset > onnx.defs.onnx_opset_version():
        raise _UncheckableError(f'onnx {onnx.__version__} does not know opset {graph.opset}')
    try:
        onnx.checker.check_model(_with_plain_convolutions(graph))
    except onnx.checker.ValidationError as error:
        yield '', ' '.join(str(error).split())[:300]


#: name -> rule; a target lists those that apply to it
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


def _with_plain_convolutions(graph: Graph) -> onnx.ModelProto:
    """The structure of a graph: large weights become inputs of the same shape, and operators that ONNX does
    not have become convolutions whose output has the same shape."""
    plain = graph.copy()
    for place, node in enumerate(graph.nodes):
        if node.op_type == 'DeformConv' or not deform_conv.spelling_of(node):
            continue
        try:
            c = deform_conv.read(graph, node)
        except ModelError:
            continue
        values = (list(c.stride), list(c.padding * 2), list(c.dilation), c.groups)
        attributes = list(zip(('strides', 'pads', 'dilations', 'group'), values))
        inputs = [name for name in (c.x, c.weight, c.bias) if name]
        plain.nodes[place] = Node('Conv', inputs, [c.output], attributes, node.name)
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
    return deform_conv.SPELLINGS[target.spelling or 'onnx'].operator


def _name(node):
    return node.name or (node.outputs or [node.op_type])[0]


def _show(value):
    return 'missing' if value is None else str(value if isinstance(value, (int, float, str)) else list(value))
