"""A model file that somebody else's export made, set right for one of the targets: :func:`modify`."""

import os
from collections import OrderedDict
from typing import NamedTuple

from ..errors import ModelError
from ..files import ensure_folder
from ..onnxfile.graph import load
from ..onnxfile.loading import check_input, damages_named
from . import identify_outputs, passes
from .atc import write_script
from .build import build
from .metadata import save
from .targets import find_target

#: files: what was written; changes: what was found and set right, lines for people
Modified = NamedTuple('Modified', [('files', list), ('changes', list)])

_KEPT = ('arch', 'weights_sha256', 'epoch', 'heads', 'classes')


def modify(path, output, target='ascend', said=None, loaded=None):
    """Set a file right: names, attributes, swapped outputs, the offsets' order; and simplify it.

    Args:
        path: an ONNX file with one input [N, 3, H, W] of fixed size and the three heads as outputs.
        output: the file to write.
        target: the name of one of :data:`~centernet.export.targets.TARGETS`.
        said: the heads in the order of the outputs, as the user says it; None decides it (:mod:`.heads`).
        loaded: what :func:`centernet.checkpoint.load_model` gave for the checkpoint that the file was made
            of, or None.

    Returns:
        Modified.

    Raises:
        ModelError: the file cannot be read, which output is which cannot be decided, or the target cannot say
            what it has.
        OutputError: the file cannot be written.
    """
    graph = load(path)
    with damages_named(path):
        return _modify(graph, path, output, find_target(target), said, loaded)


def _modify(graph, path, output, target, said, loaded):
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else None
    if shape is None or len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape[1:]):
        raise ModelError(
            '{} needs one input [N, 3, H, W] of fixed size, and has {}'.format(
                path, ', '.join(f'{value.name} {value.shape}' for value in graph.inputs) or 'none'
            )
        )
    check_input(path, shape)
    before = _count(graph)
    names, how = identify_outputs.identify(graph, said, None if loaded is None else loaded.checkpoint)
    changes = _rename_outputs(graph, names, how)
    about = OrderedDict((key, graph.metadata[key]) for key in _KEPT if key in graph.metadata)
    passes.clean(graph)
    built = build(graph, target, shape[0] if isinstance(shape[0], int) else None)
    ensure_folder(os.path.dirname(output) or '.')
    save(built, output, target.name, loaded, about)
    files = [output] + ([write_script(output, built)] if target.atc_script else [])
    return Modified(files, changes + _differences(before, _count(built)))


def _rename_outputs(graph, names, how):
    """Name the outputs after what they hold, in place; returns what changed."""
    old = graph.output_names()
    for name, head in zip(old, names):
        graph.rename_value(name, name + '/' + head)
    taken = {name for node in graph.nodes for name in node.inputs + node.outputs}
    for head in names:
        if head in taken:  # some value inside is called so
            graph.rename_value(head, graph.fresh(head + '/value'))
    for name, head in zip(old, names):
        graph.rename_value(name + '/' + head, head)
    wrong = [f'{name} holds {head}' for name, head in zip(old, names) if name != head]
    return (
        ['outputs renamed: {} ({})'.format(', '.join(wrong), how)]
        if wrong
        else [f'the outputs have the right names ({how})']
    )


def _count(graph):
    found = OrderedDict()
    for node in graph.nodes:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def _differences(before, after):
    """Lines that say which operators are gone and which are new."""
    lines = []
    for what, more, fewer in (('gone', before, after), ('new', after, before)):
        found = [
            f'{more[name] - fewer.get(name, 0)} {name}'
            for name in sorted(more)
            if more[name] > fewer.get(name, 0)
        ]
        if found:
            lines.append('{}: {}'.format(what, ', '.join(found)))
    return lines + [f'{sum(after.values())} nodes, {sum(before.values())} before']
