"""A small editable graph over an ONNX model: nodes with Python attributes, weights as numpy arrays.

Of the onnx package it needs only the protocol buffers, so it works alike with onnx 1.8.1 and with the newest,
and handles operators and opsets that the installed onnx does not know.
"""

from collections import OrderedDict
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import attr
import numpy as np
import onnx

from ..system.errors import ModelError
from ..system.files import atomic_write
from . import protobuf
from .loading import damage_named, read_model_and_files
from .protobuf import Value

#: opset of the default domain -> the IR version that came with it (older releases of onnx lack the table)
_IR_VERSIONS = dict(zip(range(9, 23), (4, 5, 6, 7, 7, 7, 8, 8, 8, 8, 9, 9, 10, 10)))
_DEFAULT_DOMAINS = ('', 'ai.onnx')


@attr.s(auto_attribs=True, eq=False)
class Node:
    """One operator.

    ``inputs`` and ``outputs`` are names of values, '' for an optional one that is omitted. ``attributes``:
    name -> int, float, str, list of these, or numpy array (a tensor); other kinds stay AttributeProtos.
    """

    op_type: str
    inputs: List[str] = attr.ib(converter=list)
    outputs: List[str] = attr.ib(converter=list)
    attributes: Dict[str, Any] = attr.ib((), converter=OrderedDict)
    name: str = ''
    domain: str = attr.ib('', converter=lambda domain: '' if domain in _DEFAULT_DOMAINS else domain)
    doc_string: str = ''

    @property
    def label(self) -> str:
        """What messages call it: its name, or that of its output."""
        return self.name or (self.outputs or [self.op_type])[0]

    def input(self, index: int) -> str:
        """The name of an input, '' if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ''

    def reads(self) -> List[str]:
        """The names of all values that it reads, also of those that only its subgraphs (of If and Loop)
        read."""
        return [name for name in self.inputs if name] + protobuf.subgraph_reads(self.attributes.values())

    def copy(self) -> 'Node':
        """Return a copy that shares the values of attributes: replace them instead of writing into them."""
        return attr.evolve(self)


@attr.s(auto_attribs=True, eq=False, repr=False)
class Graph:
    """An ONNX model of one graph.

    ``nodes`` are in an order in which they can be computed. ``initializers``: name -> array; they are not
    among the ``inputs``. ``opset`` is that of the default domain; ``domains``: name -> version of the others.
    ``producer``: the name and version of the program that wrote the model.
    """

    opset: int
    name: str = 'centernet'
    domains: Dict[str, int] = attr.ib((), converter=OrderedDict)
    nodes: List[Node] = attr.ib((), converter=list)
    initializers: Dict[str, np.ndarray] = attr.ib((), converter=OrderedDict)
    inputs: List[Value] = attr.ib((), converter=list)
    outputs: List[Value] = attr.ib((), converter=list)
    metadata: Dict[str, str] = attr.ib((), converter=OrderedDict)
    producer: Tuple[str, str] = ('', '')
    functions: List[Any] = attr.ib((), converter=list)
    _taken: Optional[Set[str]] = attr.ib(None, init=False)

    def producers(self) -> Dict[str, Node]:
        """Value name -> the node that computes it."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def output_names(self) -> List[str]:
        """The names of the graph's outputs, in order."""
        return [value.name for value in self.outputs]

    def find(self, *op_types: str) -> List[Node]:
        """The nodes of these operators in the default domain, in order."""
        return [node for node in self.nodes if node.op_type in op_types and not node.domain]

    def fresh(self, stem: str) -> str:
        """Return a value name that starts with ``stem``, and that neither is in use nor was returned before.

        The first call collects the names in use. What is renamed after it without :meth:`rename_value` has
        to be followed by :meth:`forget_names`.
        """
        if self._taken is None:
            self._taken = {name for node in self.nodes for name in node.inputs + node.outputs}
            self._taken.update(self.initializers, (value.name for value in self.inputs + self.outputs))
        return unique(stem, self._taken)

    def forget_names(self) -> None:
        """Make :meth:`fresh` collect the names in use again."""
        self._taken = None

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
        self.replace_value(old, new)
        for node in self.nodes:
            node.outputs = [new if name == old else name for name in node.outputs]
        if old in self.initializers:  # in its place
            items = self.initializers.items()
            self.initializers = OrderedDict((new if name == old else name, array) for name, array in items)
        for values in (self.inputs, self.outputs):
            values[:] = [value._replace(name=new) if value.name == old else value for value in values]
        if self._taken is not None:
            self._taken.add(new)

    def substitute(self, node: Node, replacement: Sequence[Node]) -> None:
        """Replace a node by others."""
        place = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[place : place + 1] = replacement

    def remove_dead(self) -> None:
        """Remove the nodes and initializers that no output depends on."""
        needed, kept = set(self.output_names()), []
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
        return attr.evolve(self, nodes=[node.copy() for node in self.nodes])

    def to_model(self) -> onnx.ModelProto:
        """The graph as a model, with its weights."""
        model = self._frame()
        model.graph.initializer.extend(protobuf.tensor_proto(*item) for item in self.initializers.items())
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
            raise ModelError(f'{path} would have {weights} bytes; the limit of ONNX files is 2 GiB')
        with atomic_write(path, 'wb') as file:
            for part in protobuf.byte_parts(frame, self.initializers):
                file.write(part)

    def _frame(self):
        """The model without its weights."""
        graph = onnx.GraphProto(name=self.name)
        for node in self.nodes:
            proto = graph.node.add(input=node.inputs, output=node.outputs, op_type=node.op_type)
            proto.name, proto.domain, proto.doc_string = node.name, node.domain, node.doc_string
            proto.attribute.extend(protobuf.attribute_protos(node.attributes))
        graph.input.extend(protobuf.value_proto(value) for value in self.inputs)
        graph.output.extend(protobuf.value_proto(value) for value in self.outputs)
        model = onnx.ModelProto(graph=graph)
        model.ir_version = _IR_VERSIONS.get(self.opset, 4 if self.opset < 9 else 10)
        model.producer_name, model.producer_version = self.producer
        if self.functions:
            model.functions.extend(self.functions)
        for domain, version in [('', self.opset), *self.domains.items()]:
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
    model = read_model_and_files(path).model
    with damage_named(path):
        return of_model(model)


def of_model(model: onnx.ModelProto) -> Graph:
    """Convert a model, which is not changed."""
    if model.graph.sparse_initializer:
        raise ModelError('the model has sparse initializers, which are not supported')
    opsets = [(entry.domain, entry.version) for entry in model.opset_import]
    graph = Graph(max([version for domain, version in opsets if domain in _DEFAULT_DOMAINS] or [1]))
    graph.name, graph.producer = model.graph.name, (model.producer_name, model.producer_version)
    graph.domains.update(entry for entry in opsets if entry[0] not in _DEFAULT_DOMAINS)
    for node in model.graph.node:
        attributes = [(entry.name, protobuf.attribute_value(entry)) for entry in node.attribute]
        names = (node.name, node.domain, node.doc_string)
        graph.nodes.append(Node(node.op_type, node.input, node.output, attributes, *names))
    for tensor in model.graph.initializer:
        graph.initializers[tensor.name] = protobuf.array_of(tensor)
    inputs = map(protobuf.value_of, model.graph.input)
    graph.inputs = [value for value in inputs if value.name not in graph.initializers]
    graph.outputs = [protobuf.value_of(value) for value in model.graph.output]
    graph.metadata.update((entry.key, entry.value) for entry in model.metadata_props)
    graph.functions = list(getattr(model, 'functions', ()))
    return graph


def unique(stem: str, taken: Set[str]) -> str:
    """Return ``stem``, or ``stem`` with a number, whichever is not taken; it is taken from then on."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f'{stem}_{number}'
    taken.add(name)
    return name
