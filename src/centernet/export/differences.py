"""What a repair changed in a graph, in lines for people: :func:`differences`."""

from collections import Counter
from typing import List

from ..onnxfile import deform_conv
from ..onnxfile.graph import Graph


def differences(before: Graph, after: Graph) -> List[str]:
    """Return what changed between two graphs of one network, a line for each kind of change."""
    old, new = (Counter(node.op_type for node in graph.nodes) for graph in (before, after))
    lines = _deformable_convolutions(before, after, old, new)
    folded = old['BatchNormalization'] - new['BatchNormalization']
    if folded > 0:
        lines.append(f'{folded} BatchNormalization folded into the weights of the convolutions before them')
    handled = {spelling.operator for spelling in deform_conv.SPELLINGS.values()} | {'BatchNormalization'}
    for what, difference in (
        ('removed, as their results are constant or part of the weights', old - new),
        ('added', new - old),
    ):
        counts = [f'{count} {name}' for name, count in sorted(difference.items()) if name not in handled]
        if counts:
            lines.append(f'{what}: {", ".join(counts)}')
    if before.opset != after.opset:
        lines.append(f'opset {after.opset}, {before.opset} before')
    if [node.name for node in before.nodes] != [node.name for node in after.nodes]:
        lines.append('nodes and weights named after their modules, or numbered')
    return lines + [f'{len(after.nodes)} nodes, {len(before.nodes)} before']


def _deformable_convolutions(before, after, old, new) -> List[str]:
    lines = []
    for spelling in deform_conv.SPELLINGS.values():
        count = old[spelling.operator]
        if not count:
            continue
        written = next((s.operator for s in deform_conv.SPELLINGS.values() if new[s.operator]), None)
        if written != spelling.operator:
            lines.append(f'{count} {spelling.operator} written as {written or "standard operators"}')
            continue
        pairs = list(zip(before.find(spelling.operator), after.find(spelling.operator)))
        keys = [key for key in spelling.attributes if any(_differs(key, *pair) for pair in pairs)]
        if keys:
            changed = sum(any(_differs(key, *pair) for key in keys) for pair in pairs)
            lines.append(
                f'{changed} {spelling.operator}: {", ".join(keys)} written as their reader takes them'
            )
    return lines


def _differs(key, one, other):
    return one.attributes.get(key) != other.attributes.get(key)
