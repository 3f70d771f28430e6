"""What a graph computes between its last convolution and an output, such as the sigmoid of a heat map."""

from collections import OrderedDict
from typing import NamedTuple, Optional, Set, Tuple

from .graph import Graph, Node
from .opsets import op_types

#: operators that work on single values, or on a value and its neighbours, as a sigmoid and peaks are written
_PASSED = op_types(
    'Abs Add Cast Clip Constant Div Equal Exp Greater GreaterOrEqual Identity Less LessOrEqual Max MaxPool'
    ' Min Mul Neg Not Reciprocal Sigmoid Sub Where'
)


class OutputChain(NamedTuple):
    """The end of a graph, before one of its outputs.

    Attributes:
        convolution: the only convolution that the output is computed from by ``nodes``; None if there is
            none, or more than one, or an operator that is not understood.
        nodes: the operators behind it.
    """

    convolution: Optional[Node]
    nodes: Tuple[Node, ...]

    @property
    def operators(self) -> Set[str]:
        """The types of the operators."""
        return {node.op_type for node in self.nodes}

    @property
    def is_probability(self) -> bool:
        """Whether the output is the sigmoid of the convolution's result (also clipped, or only at peaks)."""
        return self.convolution is not None and (
            'Sigmoid' in self.operators
            or ({'Neg', 'Exp'} <= self.operators and bool({'Div', 'Reciprocal'} & self.operators))
        )

    @property
    def only_peaks(self) -> bool:
        """Whether it is compared with its neighbourhood."""
        return 'MaxPool' in self.operators

    def __str__(self) -> str:
        """The operators, for people."""
        return ', '.join(sorted(self.operators - {'Constant', 'Identity'}))


def chain_before(graph: Graph, output: str) -> OutputChain:
    """Follow an output back to its convolution."""
    producers, nodes, names, understood = graph.producers(), OrderedDict(), [output], True
    while names:
        name = names.pop()
        node = producers.get(name)
        if not name or name in graph.initializers or node in nodes:
            continue
        if node is None or node.domain or node.op_type not in _PASSED.union(['Conv']):
            understood = False  # the input of the graph, or another operator
        elif node.op_type != 'Conv':
            names += node.inputs
        if node is not None:
            nodes[node] = node.op_type == 'Conv' and not node.domain
    convolutions = [node for node, is_convolution in nodes.items() if is_convolution]
    others = tuple(node for node, is_convolution in nodes.items() if not is_convolution)
    return OutputChain(convolutions[0] if understood and len(convolutions) == 1 else None, others)
