"""A small editable graph over an ONNX model: nodes with Python attributes, weights as numpy arrays.

Of the onnx package it needs only the protocol buffers, so it works alike with onnx 1.8.1 and with the newest,
and handles operators and opsets that the installed onnx does not know.
"""

from collections import OrderedDict
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import onnx

from ..errors import ModelError
from ..files import atomic_write
from . import protobuf
from .loading import damage_named, read_model

#: opset of the default domain -> the IR version that came with it (older releases of onnx lack the table)
_IR_VERSIONS = dict(zip(range(9, 23), (4, 5, 6, 7, 7, 7, 8, 8, 8, 8, 9, 9, 10, 10)))
_DEFAULT_DOMAINS = ('', 'ai.onnx')


class Value(NamedTuple):
    """An input or output of a graph.

    ``dtype`` is None if numpy has none. Sizes are int, str (the name of an open size) or None (unknown);
    ``shape`` is None if the rank is unknown.
    """

    name: str
    dtype: Optional[np.dtype]
    shape: Optional[Tuple[Union[int, str, None], ...]]


class Node:
    """One operator.

    ``inputs`` and ``outputs`` are names of values, '' for an optional one that is omitted. ``attributes``:
    name -> int, float, str, list of these, or numpy array (a tensor); other kinds stay AttributeProtos.
    """

    def __init__(
        self,
        op_type: str,
        inputs: Iterable[str],
        outputs: Iterable[str],
        attributes: Union[Dict[str, Any], Sequence[Tuple[str, Any]], None] = None,
        name: str = '',
        domain: str = '',
        doc_string: str = '',
    ) -> None:
        self.op_type = op_type
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.attributes = OrderedDict(attributes or ())
        self.name = name
        self.domain = '' if domain in _DEFAULT_DOMAINS else domain
        self.doc_string = doc_string

    def __repr__(self):
        return '{} {!r}: {} -> {}'.format(
            self.op_type, self.name, ', '.join(self.inputs), ', '.join(self.outputs)
        )

    def input(self, index: int) -> str:
        """The name of an input, '' if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ''

    def reads(self) -> List[str]:
        """The names of all values that it reads, also of those that only its subgraphs (of If and Loop)
        read."""
        return [name for name in self.inputs if name] + protobuf.subgraph_reads(self.attributes.values())

    def copy(self) -> 'Node':
        """Return a copy that shares the arrays."""
        attributes = [
            (key, list(value) if isinstance(value, list) else value) for key, value in self.attributes.items()
        ]
        return Node(
            self.op_type, self.inputs, self.outputs, attributes, self.name, self.domain, self.doc_string
        )


class Graph:
    """An ONNX model of one graph.

    ``nodes`` are in an order in which they can be computed. ``initializers``: name -> array; they are not
    among the ``inputs``. ``opset`` is that of the default domain; ``domains``: name -> version of the others.
    ``producer``: the name and version of the program that wrote the model.
    """

    def __init__(self, opset: int, name: str = 'centernet') -> None:
        self.name = name
        self.opset = opset
        self.domains = OrderedDict()  # type: Dict[str, int]
        self.nodes = []  # type: List[Node]
        self.initializers = OrderedDict()  # type: Dict[str, np.ndarray]
        self.inputs = []  # type: List[Value]
        self.outputs = []  # type: List[Value]
        self.metadata = OrderedDict()  # type: Dict[str, str]
        self.producer = ('', '')
        self.functions = []
        self._handed_out = set()

    def producers(self) -> Dict[str, Node]:
        """Value name -> the node that computes it."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def consumers(self) -> Dict[str, List[Node]]:
        """Value name -> the nodes that read it; a node that reads it twice is there twice."""
        found = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def output_names(self) -> List[str]:
        """The names of the graph's outputs, in order."""
        return [value.name for value in self.outputs]

    def find(self, *op_types: str) -> List[Node]:
        """The nodes of these operators in the default domain, in order."""
        return [node for node in self.nodes if node.op_type in op_types and not node.domain]

    def fresh(self, stem: str) -> str:
        """Return a value name that starts with ``stem`` and is not in use."""
        taken = {name for node in self.nodes for name in node.inputs + node.outputs}
        taken.update(
            self.initializers, self._handed_out, (value.name for value in self.inputs + self.outputs)
        )
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f'{stem}_{number}'
        self._handed_out.add(name)
        return name

    def constant(self, stem: str, array: np.ndarray) -> str:
        """Add an initializer and return its name."""
        name = self.fresh(stem)
        self.initializers[name] = np.asarray(array)
        return name

    def replace_value(self, old: str, new: str) -> None:
        """Make every node that reads ``old`` read ``new``."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]

    def rename_value(self, old: str, new: str) -> None:
        """Rename a value everywhere: in nodes, initializers, inputs and outputs."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        if old in self.initializers:
            self.initializers = OrderedDict(
                (new if name == old else name, array) for name, array in self.initializers.items()
            )
        self.inputs = [value._replace(name=new) if value.name == old else value for value in self.inputs]
        self.outputs = [value._replace(name=new) if value.name == old else value for value in self.outputs]

    def substitute(self, node: Node, replacement: Sequence[Node]) -> None:
        """Replace a node by others."""
        place = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[place : place + 1] = replacement

    def remove_dead(self) -> None:
        """Remove the nodes and initializers that no output depends on."""
        needed = set(self.output_names())
        kept = []
        for node in reversed(self.sorted_nodes()):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.reads())
        self.nodes = kept[::-1]
        self.initializers = OrderedDict(item for item in self.initializers.items() if item[0] in needed)

    def sorted_nodes(self) -> List[Node]:
        """The nodes in the order in which the outputs, first to last, need them.

        The order is the same for all graphs of one structure. Nodes that no output needs come last.

        Raises:
            ModelError: the graph has a cycle.
        """
        producers, order, state = self.producers(), [], {}
        ends = [producers[name] for name in self.output_names() if name in producers]
        for end in ends + self.nodes:
            stack = [(end, False)]
            while stack:
                node, ready = stack.pop()
                if ready:
                    state[id(node)] = 'done'
                    order.append(node)
                elif id(node) not in state:
                    state[id(node)] = 'open'
                    stack.append((node, True))
                    above = [producers[name] for name in node.reads() if name in producers]
                    if any(state.get(id(other)) == 'open' for other in above):
                        raise ModelError(f'the graph has a cycle through {node.name or node.op_type}')
                    stack.extend((other, False) for other in reversed(above) if id(other) not in state)
        return order

    def copy(self) -> 'Graph':
        """Return a copy that shares the arrays: replace them instead of writing into them."""
        twin = Graph(self.opset, self.name)
        twin.domains, twin.metadata = OrderedDict(self.domains), OrderedDict(self.metadata)
        twin.nodes = [node.copy() for node in self.nodes]
        twin.initializers = OrderedDict(self.initializers)
        twin.inputs, twin.outputs = list(self.inputs), list(self.outputs)
        twin.producer, twin.functions = self.producer, list(self.functions)
        return twin

    def to_model(self) -> onnx.ModelProto:
        """The graph as a model, with its weights."""
        model = self._frame()
        model.graph.initializer.extend(
            protobuf.tensor_proto(name, array) for name, array in self.initializers.items()
        )
        return model

    def save(self, path: str) -> None:
        """Write the model to a file. Equal graphs give equal bytes.

        The weights are written one by one, without a second copy of them all in memory.

        Raises:
            OutputError: the file cannot be written.
            ModelError: the file would exceed the limit of protocol buffers (2 GiB).
        """
        frame = self._frame()
        weights = sum(array.nbytes for array in self.initializers.values())
        if weights + frame.ByteSize() > (1 << 31) - (1 << 20):  # leaves room for the names of the weights
            raise ModelError(
                f'{path} would have {weights} bytes of weights; the limit of ONNX files is 2 GiB'
            )
        with atomic_write(path, 'wb') as file:
            for part in protobuf.byte_parts(frame, self.initializers):
                file.write(part)

    def _frame(self):
        """The model without its weights."""
        graph = onnx.GraphProto(name=self.name)
        for node in self.nodes:
            graph.node.add(
                op_type=node.op_type,
                input=node.inputs,
                output=node.outputs,
                name=node.name,
                domain=node.domain,
                doc_string=node.doc_string,
                attribute=protobuf.attribute_protos(node.attributes),
            )
        graph.input.extend(protobuf.value_proto(*value) for value in self.inputs)
        graph.output.extend(protobuf.value_proto(*value) for value in self.outputs)
        model = onnx.ModelProto(
            ir_version=_IR_VERSIONS.get(self.opset, 4 if self.opset < 9 else 10), graph=graph
        )
        model.producer_name, model.producer_version = self.producer
        if self.functions:
            model.functions.extend(self.functions)
        for domain, version in [('', self.opset)] + list(self.domains.items()):
            model.opset_import.add(domain=domain, version=version)
        for key, value in self.metadata.items():
            model.metadata_props.add(key=key, value=value)
        return model


def load(path: str) -> Graph:
    """Read a model file.

    Raises:
        ModelError: the file is missing, is not an ONNX model, or has parts that :class:`Graph` does not
            support.
    """
    model = read_model(path)
    if not model.ir_version:
        raise ModelError(f'{path} is not an ONNX model, or an empty one')
    with damage_named(path):
        return of_model(model)


def of_model(model: onnx.ModelProto) -> Graph:
    """Convert a model, which is not changed."""
    if model.graph.sparse_initializer:
        raise ModelError('the model has sparse initializers, which are not supported')
    graph = Graph(
        max([entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS] or [1]),
        model.graph.name,
    )
    graph.domains.update(
        (entry.domain, entry.version) for entry in model.opset_import if entry.domain not in _DEFAULT_DOMAINS
    )
    graph.producer = (model.producer_name, model.producer_version)
    graph.functions = list(getattr(model, 'functions', ()))
    graph.metadata.update((entry.key, entry.value) for entry in model.metadata_props)
    graph.initializers.update((tensor.name, protobuf.array_of(tensor)) for tensor in model.graph.initializer)
    graph.inputs = [
        Value(*protobuf.value_parts(value))
        for value in model.graph.input
        if value.name not in graph.initializers
    ]
    graph.outputs = [Value(*protobuf.value_parts(value)) for value in model.graph.output]
    for node in model.graph.node:
        attributes = [(entry.name, protobuf.attribute_value(entry)) for entry in node.attribute]
        graph.nodes.append(
            Node(node.op_type, node.input, node.output, attributes, node.name, node.domain, node.doc_string)
        )
    return graph
