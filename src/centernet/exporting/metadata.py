"""The metadata of an exported file: how to feed it, how to read its outputs, and what it was made from.

It is for readers outside this package (``mean`` and ``std``, for instance, are read by nothing here): whoever
gets the file alone can use it. There are no times, host names or paths in it: the same checkpoint, options
and versions give the same bytes.
"""

import json
from collections import OrderedDict
from typing import List, Optional

import numpy as np
import onnx

from ..detection import DOWN_RATIO, Normalization
from ..detection.heads import ONE_SIZE, size_layout
from ..networks.checkpoint import LoadedModel
from ..networks.facts import facts_of_checkpoint
from ..onnxfile.graph import Graph
from ..options.normalization import FORMULA
from ..system.versions import versions
from ..version import __version__
from .atc import write_script
from .targets import TARGETS

#: who wrote the file, in the model's own fields
PRODUCER = ('centernet', __version__)
#: what the checkpoint decides, and so survives a repair
NETWORK_KEYS = ('arch', 'weights_sha256', 'epoch', 'heads', 'classes')

_DECODED = (
    'boxes: x1, y1, x2, y2 in pixels of the input; scores: probabilities, falling; classes: index of'
    ' the class'
)


def save(
    graph: Graph,
    path: str,
    target: str,
    normalization: Normalization,
    loaded: Optional[LoadedModel] = None,
    decoded: bool = False,
) -> List[str]:
    """Write a file with its metadata, and ATC's command line where the target has one. Return their paths.

    Args:
        graph: the graph, with one input [N, 3, H, W]; its metadata and producer are set. Metadata that it has
            already are kept.
        path: the file to write.
        target: its name, or ``raw``.
        normalization: of the input.
        loaded: the checkpoint that it was made from, if it is known.
        decoded: whether the graph has the decoder.

    Raises:
        OutputError: the file cannot be written.
    """
    # the shortest digits of float32
    mean, std = ([float(str(value)) for value in np.float32(part)] for part in normalization)
    # The versions are those that decide a file's bytes. The git revision changes more often than they do.
    known = dict(versions(), onnx=onnx.__version__)
    deciding = OrderedDict((name, known[name]) for name in ('centernet', 'numpy', 'onnx', 'python', 'torch'))
    if loaded is not None:
        graph.metadata.update(_network_metadata(loaded))
    graph.metadata.update(
        OrderedDict(
            target=target,
            input_size=json.dumps(list(graph.inputs[0].shape[2:])),
            colour_order='BGR',
            mean=json.dumps(mean),
            std=json.dumps(std),
            normalisation=FORMULA,
            geometry='fix_res: the longer side is fitted into the input, centred',
            down_ratio=str(DOWN_RATIO),
            decoded=_DECODED if decoded else _describe_heads(graph),
            versions=json.dumps(deciding),
        )
    )
    graph.producer = PRODUCER
    graph.save(path)
    script = target in TARGETS and TARGETS[target].atc_script
    return [path, write_script(path, graph)] if script else [path]


def _network_metadata(loaded):
    """What the checkpoint decides: :data:`NETWORK_KEYS`, without those that it does not have."""
    epoch, names = loaded.checkpoint.epoch, facts_of_checkpoint(loaded).class_names
    values = (
        loaded.arch,
        loaded.checkpoint.sha256,
        None if epoch is None else str(epoch),
        json.dumps(loaded.heads),
        json.dumps(names) if names else None,
    )
    return [(key, value) for key, value in zip(NETWORK_KEYS, values) if value is not None]


def _describe_heads(graph: Graph) -> str:
    """How to read the heads, for people."""
    heads = {value.name: (value.shape or (0, 0))[1] for value in graph.outputs}
    if not {'hm', 'wh'} <= set(heads):
        return 'no: heads as the network gives them'
    text = 'no: hm logits, wh and reg in output cells'
    layout = size_layout(heads['hm'], heads['wh'], heads)
    if layout not in (None, ONE_SIZE):
        text += f'; wh: {layout}'
    if 'reg' not in heads:
        text += '; without reg, centres are in the middle of their cells'
    return text
