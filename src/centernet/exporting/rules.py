"""The rules of the programs that read exported files: what they reject, or silently misread.

ATC's rules are those of its parser for DeformableConv2D, TensorRT-CenterNet's those of its onnx-tensorrt
parser and of its decoder (docs/export.md). Neither program runs here, so a file that keeps the rules is not
proved to convert.
"""

from typing import Iterator, NamedTuple, Optional, Tuple, Union

import numpy as np
import onnx

from ..onnxfile import deform_conv
from ..onnxfile.graph import Graph, Node, load
from ..onnxfile.loading import damage_named
from ..onnxfile.shapes import examine, plain
from ..system.errors import ModelError
from .passes import foldable
from .targets import TARGETS, Target, find_target

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


def check(path: str, target: Optional[str] = None) -> Report:
    """Check a file against the rules of its reader.

    Args:
        path: the ONNX file.
        target: a name in :data:`~centernet.exporting.targets.TARGETS`; None takes it from the file's metadata
            or operators.

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
        if rule == 'checker' and graph.opset > onnx.defs.onnx_opset_version():
            continue  # this release of onnx does not know the opset
        checked.append(rule)
        for node, message in RULES[rule](graph, found):
            violations.append(Violation(rule, node and node.label, message))
    return Report(found.name, tuple(checked), tuple(violations))


def target_of(graph: Graph) -> Optional[Target]:
    """The target of a file by its metadata, else by its operators, else None."""
    spellings = {deform_conv.spelling_of(node) for node in graph.nodes} - {None}
    by_operators = (target for target in TARGETS.values() if target.spelling in spellings)
    return TARGETS.get(graph.metadata.get('target')) or next(by_operators, None)


# Rules: (graph, target) -> what is wrong.


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
            right = deform_conv.SPELLINGS[target.spelling].operator if target.spelling else 'no such operator'
            yield node, f'{node.op_type} is not for this target, which has {right}'
        elif not spelling and not _is_standard(node, graph.opset):
            yield node, f'{node.op_type} is not an operator of opset {graph.opset}'


def _convolutions(graph, target):
    """Each deformable convolution in the target's spelling: its node, its record, the node that this package
    would write, and '', or why it cannot be read."""
    for node in graph.nodes:
        if target.spelling and deform_conv.spelling_of(node) == target.spelling:
            try:
                c = deform_conv.read(graph, node)
                yield node, c, deform_conv.write(node, target.spelling, c), ''
            except ModelError as error:
                yield node, None, None, str(error)


def _inputs(graph: Graph, target: Target) -> _Found:
    """Deformable convolutions have all their inputs, and their weights are stored in float32."""
    for node, c, right, why in _convolutions(graph, target):
        if why or node.inputs != right.inputs:
            yield node, why or f'its inputs are {node.inputs}; it takes {right.inputs}'
            continue
        for value in filter(None, (c.weight, c.bias)):
            if value not in graph.initializers:
                yield node, f'its input {value} is not an initializer'
            elif graph.initializers[value].dtype != np.float32:
                yield node, f'its input {value} is {graph.initializers[value].dtype}, not float32'


def _attributes(graph: Graph, target: Target) -> _Found:
    """The attributes of deformable convolutions are those that this package writes: other readers skip some
    forms silently, such as ATC a number in place of a list. (ONNX's own checker knows DeformConv's.)"""
    for node, _, right, why in _convolutions(graph, target):
        if why:
            yield node, why
            continue
        if target.spelling == 'ascend':
            right.attributes['groups'] = 1
        for key in sorted({*right.attributes, *node.attributes}):
            value, expected = node.attributes.get(key, 'missing'), right.attributes.get(key)
            if expected is None:
                yield node, f'the attribute {key} is not one of {", ".join(right.attributes)}'
            elif value != expected:
                yield node, f'{key} is {value}; {target.reader} takes {expected}'


def _offsets(graph: Graph, target: Target) -> _Found:
    """Offsets have as many channels as the taps need, and the size of the output."""
    shapes = examine(graph).shapes
    for node, c, _, why in _convolutions(graph, target):
        if why or c.kernel is None:
            continue  # other rules report it
        output = shapes.get(c.output)
        for value, channels in ((c.packed, 3 * c.taps), (c.offset, 2 * c.taps), (c.mask, c.taps)):
            shape = shapes.get(value)
            if not value:
                continue
            if not shape or len(shape) != 4 or not isinstance(shape[1], int):
                yield node, f'cannot tell from the file how many channels {value} has'
            elif shape[1] != channels:
                need = f'{c.kernel[0] * c.kernel[1]} taps in {c.deformable_groups} deformable groups need'
                yield node, f'{value} has {shape[1]} channels; {need} {channels}'
            elif output and shape[2:] != output[2:]:
                yield node, '{} is {} x {}, the output {} x {}'.format(value, *shape[2:], *output[2:])


def _batch(graph: Graph, target: Target) -> _Found:
    for value in graph.inputs:
        if value.shape is None or not all(isinstance(side, int) and side > 0 for side in value.shape):
            yield '', f'the input {value.name} is {value.shape}; every side has to be fixed'
        elif not target.batches and value.shape[0] != 1:
            yield '', f'a batch of {value.shape[0]}; {target.reader} takes 1'


def _outputs(graph: Graph, target: Target) -> _Found:
    """The outputs are in the order by which the reader tells them apart."""
    names, expected = ', '.join(graph.output_names()), ', '.join(target.outputs)
    if names != expected:
        yield '', f'the outputs are {names}; {target.reader} takes {expected}, in this order'


def _folded(graph: Graph, _target: Target) -> _Found:
    for node, before in foldable(graph):
        yield node, f'a BatchNormalization that can be folded into {before.label}; centernet modify does'


def _checker(graph: Graph, _target: Target) -> _Found:
    """ONNX's own checker, with an ordinary convolution in place of each operator that it cannot know."""
    try:
        onnx.checker.check_model(plain(graph, known=('DeformConv',)).to_model())
    except onnx.checker.ValidationError as error:
        yield '', ' '.join(str(error).split())[:300]


#: name -> rule; a target lists those that apply to it
RULES = {
    rule.__name__[1:]: rule
    for rule in (_opset, _operators, _folded, _checker, _inputs, _attributes, _offsets, _batch, _outputs)
}


def _is_standard(node, opset):
    try:
        return not onnx.defs.get_schema(node.op_type, opset, '').deprecated
    except Exception:  # onnx's SchemaError, which old releases do not export
        return opset > onnx.defs.onnx_opset_version() and onnx.defs.has(node.op_type)
