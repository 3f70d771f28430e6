"""Write many nodes: :class:`Builder`."""

from typing import Any, Callable, Sequence, Union

import numpy as np

from .graph import Graph, Node


class Builder:
    """Makes ``nodes`` for a graph, and adds their constants to it.

    Args:
        graph: the graph. The nodes are not in it yet.
        prefix: what the names of nodes, values and constants start with.
        spell: how operators are spelled in names.
    """

    def __init__(self, graph: Graph, prefix: str, spell: Callable[[str], str] = str) -> None:
        self.graph = graph
        self.nodes = []  # type: List[Node]
        self._prefix, self._spell = prefix, spell

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: object) -> Any:
        """Make a node and return the name of its output, or a list of the names of several outputs."""
        name = self.graph.fresh(self._prefix + self._spell(op_type))
        names = [name] if outputs == 1 else [f'{name}.{i}' for i in range(outputs)]
        self.nodes.append(Node(op_type, inputs, names, sorted(attributes.items()), name))
        return name if outputs == 1 else names

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Make a Reshape and return the name of its output."""
        return self.add('Reshape', value, self.integer(shape))

    def constant(self, array: np.ndarray, name: str = 'constant') -> str:
        """Add an initializer and return its name."""
        return self.graph.constant(self._prefix + name, array)

    def integer(self, values: Union[int, Sequence[int], np.ndarray], name: str = 'constant') -> str:
        """Add an int64 initializer and return its name."""
        return self.constant(np.array(values, np.int64), name)
