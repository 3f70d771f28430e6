"""The metadata of an exported file: how to feed it, how to read its outputs, and what it was made from.

It is for readers outside this package (``mean`` and ``std``, for instance, are read by nothing here): whoever
gets the file alone can use it. There are no times, host names or paths in it: the same checkpoint, options
and versions give the same bytes.
"""

import json
from collections import OrderedDict
from typing import Dict, Mapping, Optional

import numpy as np
import onnx

from .. import __version__
from ..checkpoint import LoadedModel
from ..detection import COCO, DOWN_RATIO, Normalization
from ..detection.heads import ONE_SIZE, size_layout
from ..detection.normalization import FORMULA
from ..onnxfile.graph import Graph
from ..provenance import versions
from ..runners.class_names import class_names

#: who wrote the file, in the model's own fields
PRODUCER = ('centernet', __version__)
#: what the checkpoint decides, and so survives a repair
NETWORK_KEYS = ('arch', 'weights_sha256', 'epoch', 'heads', 'classes')


def network_metadata(loaded: LoadedModel) -> Dict[str, str]:
    """What the checkpoint decides: :data:`NETWORK_KEYS`, without those that it does not have."""
    found = OrderedDict([('arch', loaded.arch), ('weights_sha256', loaded.checkpoint.sha256)])
    if loaded.checkpoint.epoch is not None:
        found['epoch'] = str(loaded.checkpoint.epoch)
    found['heads'] = json.dumps(loaded.heads)
    names = class_names(loaded.checkpoint.meta, loaded.heads.get('hm', 0))
    if names:
        found['classes'] = json.dumps(names)
    return found


def file_metadata(
    graph: Graph, target: str, normalization: Normalization = COCO, decoded: bool = False
) -> Dict[str, str]:
    """What every file has: the target, the protocol, the outputs, the versions.

    Args:
        graph: the file's graph, with one input [N, 3, H, W].
        target: its name, or ``raw``.
        normalization: of the input.
        decoded: whether the graph has the decoder.
    """
    image = graph.inputs[0]
    # the shortest digits of float32
    mean, std = ([float(str(value)) for value in np.float32(part)] for part in normalization)
    if decoded:
        outputs = (
            'boxes: x1, y1, x2, y2 in pixels of the input; scores: probabilities, falling; classes: index of'
            ' the class'
        )
    else:
        outputs = _describe_heads(graph)
    return OrderedDict(
        [
            ('target', target),
            ('input_size', json.dumps(list(image.shape[2:]))),
            ('colour_order', 'BGR'),
            ('mean', json.dumps(mean)),
            ('std', json.dumps(std)),
            ('normalisation', FORMULA),
            ('geometry', 'fix_res: the longer side is fitted into the input, centred'),
            ('down_ratio', str(DOWN_RATIO)),
            ('decoded', outputs),
            ('versions', json.dumps(_versions())),
        ]
    )


def save(
    graph: Graph,
    path: str,
    target: str,
    normalization: Normalization,
    loaded: Optional[LoadedModel] = None,
    kept: Optional[Mapping[str, str]] = None,
    decoded: bool = False,
) -> None:
    """Write a file with its metadata.

    Args:
        graph: the graph; its metadata and producer are set.
        path: the file to write.
        target: its name, or ``raw``.
        normalization: of the input.
        loaded: the checkpoint that it was made from, if it is known.
        kept: further metadata, which ``loaded`` overrides.
        decoded: whether the graph has the decoder.

    Raises:
        OutputError: the file cannot be written.
    """
    graph.producer = PRODUCER
    graph.metadata.update(kept or {})
    if loaded is not None:
        graph.metadata.update(network_metadata(loaded))
    graph.metadata.update(file_metadata(graph, target, normalization, decoded))
    graph.save(path)


def _versions():
    """The versions that decide a file's bytes. The git revision is not among them: it changes more often than
    they do."""
    known = dict(versions(), onnx=onnx.__version__)
    return OrderedDict((name, known[name]) for name in ('centernet', 'numpy', 'onnx', 'python', 'torch'))


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
