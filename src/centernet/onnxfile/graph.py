"""A small editable graph over an ONNX model: nodes with Python attributes, weights as numpy arrays.

It needs of the onnx package only the protocol buffers, so it works alike with onnx 1.8.1 and with the newest,
and reads and writes operators and opsets that the installed onnx does not know.
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import onnx

from ..errors import ModelError
from ..files import atomic_write
from . import protobuf
from .loading import damages_named, read_model

#: the IR version that came with each opset of the default domain (onnx's own table begins later in its older
#: releases)
_IR_VERSIONS = {
    9: 4,
    10: 5,
    11: 6,
    12: 7,
    13: 7,
    14: 7,
    15: 8,
    16: 8,
    17: 8,
    18: 8,
    19: 9,
    20: 9,
    21: 10,
    22: 10,
}
_DEFAULT_DOMAINS = ('', 'ai.onnx')

#: name; numpy dtype; shape: a tuple of int, str (a named, unknown size) or None (unknown), or None where
#: nothing is known
Value = NamedTuple('Value', [('name', str), ('dtype', object), ('shape', object)])


class Node:
    """One operator.

    ``inputs``, ``outputs``: names of values, '' where an optional one is left out. ``attributes``: name ->
    int, float, str, list of these, or numpy array (a tensor); anything else stays the AttributeProto that it
    was.
    """

    def __init__(self, op_type, inputs, outputs, attributes=None, name='', domain='', doc_string=''):
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

    def input(self, index):
        """The name of an input, '' where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ''

    def reads(self):
        """The names of all values that it reads, those that only its subgraphs (of If and Loop) name
        included."""
        return [name for name in self.inputs if name] + protobuf.subgraph_reads(self.attributes.values())

    def copy(self):
        """A node of its own; its arrays are shared."""
        attributes = [
            (key, list(value) if isinstance(value, list) else value) for key, value in self.attributes.items()
        ]
        return Node(
            self.op_type, self.inputs, self.outputs, attributes, self.name, self.domain, self.doc_string
        )


class Graph:
    """An ONNX model of one graph.

    ``nodes``: list of :class:`Node`, in an order in which they can be computed. ``initializers``: name ->
    numpy array. ``inputs``, ``outputs``: lists of :class:`Value` (an initializer is no input). ``opset``: of
    the default domain; ``domains``: name -> version of the others. ``metadata``: text -> text.
    """

    def __init__(self, opset, name='centernet'):
        self.name = name
        self.opset = opset
        self.domains = OrderedDict()
        self.nodes = []
        self.initializers = OrderedDict()
        self.inputs = []
        self.outputs = []
        self.metadata = OrderedDict()
        self.producer = ('', '')
        self.functions = []
        self._handed_out = set()

    # Looking around

    def producers(self):
        """Value name -> the node that computes it."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def consumers(self):
        """Value name -> list of the nodes that read it, a node once per reading."""
        found = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def output_names(self):
        """The names of the graph's outputs, in order."""
        return [value.name for value in self.outputs]

    def find(self, *op_types):
        """The nodes of these operators in the default domain, in order."""
        return [node for node in self.nodes if node.op_type in op_types and not node.domain]

    # Changing

    def fresh(self, stem):
        """A value name that starts with ``stem`` and is not in use."""
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

    def constant(self, stem, array):
        """Add an initializer and return its name."""
        name = self.fresh(stem)
        self.initializers[name] = np.asarray(array)
        return name

    def replace_value(self, old, new):
        """Let every node that reads ``old`` read ``new``."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]

    def rename_value(self, old, new):
        """Give the value ``old`` the name ``new`` wherever it is written, read, or an output."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        if old in self.initializers:
            self.initializers = OrderedDict(
                (new if name == old else name, array) for name, array in self.initializers.items()
            )
        self.inputs = [value._replace(name=new) if value.name == old else value for value in self.inputs]
        self.outputs = [value._replace(name=new) if value.name == old else value for value in self.outputs]

    def substitute(self, node, replacement):
        """Put the nodes of ``replacement`` where ``node`` is."""
        place = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[place : place + 1] = replacement

    def remove_dead(self):
        """Drop the nodes and initializers that no output depends on."""
        needed = set(self.output_names())
        kept = []
        for node in reversed(self.sorted_nodes()):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.reads())
        self.nodes = kept[::-1]
        self.initializers = OrderedDict(item for item in self.initializers.items() if item[0] in needed)

    def sorted_nodes(self):
        """The nodes in the order in which the outputs, first to last, need them: the same for every graph of
        the same structure.

        Nodes that no output needs come last, in their present order.

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

    def copy(self):
        """A graph of its own; the arrays are shared, so replace them rather than write into them."""
        twin = Graph(self.opset, self.name)
        twin.domains, twin.metadata = OrderedDict(self.domains), OrderedDict(self.metadata)
        twin.nodes = [node.copy() for node in self.nodes]
        twin.initializers = OrderedDict(self.initializers)
        twin.inputs, twin.outputs = list(self.inputs), list(self.outputs)
        twin.producer, twin.functions = self.producer, list(self.functions)
        return twin

    # Protocol buffers

    def to_model(self):
        """The graph as an onnx.ModelProto, weights included."""
        model = self._frame()
        model.graph.initializer.extend(
            protobuf.tensor_proto(name, array) for name, array in self.initializers.items()
        )
        return model

    def save(self, path):
        """Write the model file, whole or not at all; the same graph gives the same bytes.

        The weights are written one after another, so that no second copy of them is made in memory.

        Raises:
            OutputError: the file cannot be written.
            ModelError: it would be larger than a protocol buffer can be (2 GiB).
        """
        frame = self._frame()
        weights = sum(array.nbytes for array in self.initializers.values())
        if weights + frame.ByteSize() > (1 << 31) - (1 << 20):  # leaves room for the names of the weights
            raise ModelError(f'{path} would have {weights} bytes of weights; an ONNX file can have 2 GiB')
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


def load(path):
    """Read a model file.

    Returns:
        Graph.

    Raises:
        ModelError: the file is missing, is no ONNX model, or has parts that :class:`Graph` does not know.
    """
    model = read_model(path)
    if not model.ir_version:
        raise ModelError(f'{path} is not an ONNX model, or an empty one')
    with damages_named(path):
        return of_model(model)


def of_model(model):
    """A :class:`Graph` of an onnx.ModelProto, which is not changed."""
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
