"""The passes that clean a traced graph: fold constants, BatchNormalization and the order of the offsets,
remove dead parts, and name everything."""

import re
from collections import Counter
from typing import Iterator, Tuple

import numpy as np

from ..onnxfile.deform_conv import SPELLINGS
from ..onnxfile.graph import Graph, Node, unique
from ..onnxfile.shapes import examine
from .offsets import fold_offset_order

#: operator -> what its inputs are called in the names of initializers
INPUTS = {
    'Conv': ('x', 'weight', 'bias'),
    'ConvTranspose': ('x', 'weight', 'bias'),
    'Upsample': ('x', 'scales'),
    'Resize': ('x', 'roi', 'scales', 'sizes'),
}
INPUTS.update((spelling.operator, spelling.inputs) for spelling in SPELLINGS.values())
# the name of a module's weight: the module's path, and a number if it is a copy
_MODULE_WEIGHT = re.compile(r'([A-Za-z_]\w*(\.\w+)*)\.weight(_\d+)?$')


def clean(graph: Graph) -> None:
    """Run all passes, in place. Deformable convolutions keep their spelling.

    Args:
        graph: traced for inference.

    Raises:
        ModelError: a deformable convolution cannot be read, or its mask does not go through a sigmoid.
    """
    graph.nodes = graph.sorted_nodes()
    fold_constants(graph)
    remove_identities(graph)
    fold_batch_norm(graph)
    fold_offset_order(graph)
    drop_defaults(graph)
    graph.remove_dead()
    own_weights(graph)
    name_everything(graph)


def fold_constants(graph: Graph) -> None:
    """Replace what can be computed now by initializers, in place."""
    constants, outputs, kept = examine(graph).constants, set(graph.output_names()), []
    for node in graph.nodes:
        if all(name in constants and name not in outputs for name in node.outputs if name):
            graph.initializers.update((name, np.asarray(constants[name])) for name in node.outputs if name)
        else:
            kept.append(node)
    graph.nodes = kept


def remove_identities(graph: Graph) -> None:
    """Remove what does nothing at inference, in place: Identity, Dropout."""
    outputs = set(graph.output_names())
    for node in graph.find('Identity', 'Dropout'):
        source, result = node.inputs[0], node.outputs[0]
        if result not in outputs:
            graph.nodes.remove(node)
            graph.replace_value(result, source)
        elif source in graph.producers() and source not in outputs:
            graph.nodes.remove(node)
            graph.rename_value(source, result)


def foldable(graph: Graph) -> Iterator[Tuple[Node, Node]]:
    """Each BatchNormalization behind a convolution that has no other reader, and that convolution: ordinary,
    transposed or deformable."""
    producers, outputs = graph.producers(), set(graph.output_names())
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    for node in graph.find('BatchNormalization'):
        before = producers.get(node.input(0))
        if (
            before is not None
            and not before.domain
            and 'weight' in INPUTS.get(before.op_type, ())
            and readers[node.inputs[0]] == 1
            and node.inputs[0] not in outputs
        ):
            yield node, before


def fold_batch_norm(graph: Graph) -> None:
    """Fold each BatchNormalization that is :func:`foldable`, in place. It stays if the convolution has a
    computed weight. The arithmetic is in float64."""
    for node, before in foldable(graph):
        weight_at, bias_at = map(INPUTS[before.op_type].index, ('weight', 'bias'))
        bias = before.input(bias_at)
        needed = node.inputs[1:5] + [before.inputs[weight_at]] + ([bias] if bias else [])
        if any(name not in graph.initializers for name in needed):
            continue
        scale, shift, mean, variance = (
            graph.initializers[name].astype(np.float64) for name in node.inputs[1:5]
        )
        weight = graph.initializers[before.inputs[weight_at]]
        scale = scale / np.sqrt(variance + node.attributes.get('epsilon', 1e-5))
        shift = shift - mean * scale
        if bias:
            shift = shift + graph.initializers[bias].astype(np.float64) * scale
        factor = scale[:, np.newaxis]
        if before.op_type == 'ConvTranspose':
            # [in, out / groups, kh, kw]: the rows of a group meet that group's part of the scale
            groups = before.attributes.get('group', 1)
            factor = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        factor = factor[:, :, np.newaxis, np.newaxis]
        stem = before.inputs[weight_at]
        bias_name = re.sub(r'(\.weight)?$', '.bias', stem, count=1)
        before.inputs += [''] * (bias_at + 1 - len(before.inputs))
        before.inputs[weight_at] = graph.constant(stem, (weight * factor).astype(weight.dtype))
        before.inputs[bias_at] = graph.constant(bias_name, shift.astype(weight.dtype))
        before.outputs[0] = node.outputs[0]
        graph.nodes.remove(node)
        if stem not in {name for other in graph.nodes for name in other.inputs}:
            del graph.initializers[stem]  # at once: large networks do not fit into memory twice
            graph.rename_value(before.inputs[weight_at], stem)


def drop_defaults(graph: Graph) -> None:
    """Remove doc strings, and attributes that have their default value and that not every reader knows, in
    place."""
    for node in graph.find('ConvTranspose', 'MaxPool', 'AveragePool'):
        for key, default in (('output_padding', 0), ('ceil_mode', 0), ('storage_order', 0), ('dilations', 1)):
            is_known = (node.op_type, key) == ('ConvTranspose', 'dilations')
            if not is_known and key in node.attributes and np.all(np.equal(node.attributes[key], default)):
                del node.attributes[key]
    for node in graph.nodes:
        node.doc_string = ''


def own_weights(graph: Graph) -> None:
    """Copy initializers that several nodes share, in place: torch 2.x shares equal ones, 1.0.0 does not."""
    seen = set()
    for node in graph.nodes:
        for place, name in enumerate(node.inputs):
            if name in graph.initializers:
                if name in seen:
                    node.inputs[place] = graph.constant(name, graph.initializers[name])
                seen.add(name)


def name_everything(graph: Graph) -> None:
    """Name nodes, their outputs and their initializers, and order the initializers as the nodes need them, in
    place.

    A node with weights is named after their module, ``base.level2.root.conv``; another one after the nearest
    of these above it and its operator, ``base.level2.root.conv/Relu``. If the names of the weights are
    numbers, as torch 1.0.0 writes them, nodes are called ``Conv_0``, ``Relu_1``, in order.
    """
    stems, taken, renamed, initializers = {}, set(), {}, {}
    inputs, outputs = {value.name for value in graph.inputs}, set(graph.output_names())
    for index, node in enumerate(graph.nodes):
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        names = INPUTS.get(node.op_type, ()) if not node.domain else ()
        weighted = 'weight' in names
        found = weighted and _MODULE_WEIGHT.match(node.inputs[names.index('weight')])
        module = found.group(1) if found else None
        above = next((stems[name] for name in node.inputs if name in stems), None)
        if module is None and (above is None or weighted):
            name, stem = f'{node.op_type}_{index}', None
        else:
            stem = module or above
            name = module or f'{stem}/{node.op_type}'
        node.name = unique(name, taken)
        for place, value in enumerate(node.inputs):
            if value in graph.initializers:
                new = f'{node.name}.{names[place] if place < len(names) else f"input{place}"}'
                initializers[new] = graph.initializers[value]
                node.inputs[place] = new
        for place, value in enumerate(node.outputs):
            if value and value not in outputs:
                new = node.name if len(node.outputs) == 1 else f'{node.name}.{place}'
                renamed[value] = new if new not in inputs | outputs else new + '/output'
                node.outputs[place] = renamed[value]
            if stem:
                stems[node.outputs[place]] = stem
    graph.initializers = initializers
    graph.forget_names()
