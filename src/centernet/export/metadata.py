"""What an exported file says about itself: enough to feed it and to read its outputs, and what it was made
of.

No times, names of machines or paths: the same checkpoint, options and versions give the same bytes.
"""

import json
import platform
from collections import OrderedDict

import numpy as np
import onnx
import torch

from .. import __version__
from ..detection import DOWN_RATIO, MEAN, STD

#: who wrote the file, in the model's own fields
PRODUCER = ('centernet', __version__)


def network_metadata(loaded):
    """What is known from the checkpoint: arch, weights_sha256, epoch, heads, classes. Text -> text.

    Args:
        loaded: what :func:`centernet.checkpoint.load_model` returned.
    """
    found = OrderedDict([('arch', loaded.arch), ('weights_sha256', loaded.checkpoint.sha256)])
    if loaded.checkpoint.epoch is not None:
        found['epoch'] = str(loaded.checkpoint.epoch)
    found['heads'] = json.dumps(loaded.heads)
    names = loaded.checkpoint.meta.get('classes')
    if (
        isinstance(names, list)
        and len(names) == loaded.heads.get('hm')
        and all(isinstance(name, str) for name in names)
    ):
        found['classes'] = json.dumps(names)
    return found


def file_metadata(graph, target, decoded=False):
    """What holds for every file: the target, the protocol, the outputs, the versions. Text -> text.

    Args:
        graph: the file's graph, one input [N, 3, H, W].
        target: its name, or ``raw``.
        decoded: whether the graph has the decoder.
    """
    image = graph.inputs[0]
    found = OrderedDict(
        [
            ('target', target),
            ('input_size', json.dumps(list(image.shape[2:]))),
            ('colour_order', 'BGR'),
            ('mean', _numbers(MEAN)),
            ('std', _numbers(STD)),
            ('normalisation', '(pixel / 255 - mean) / std'),
            ('geometry', 'fix_res: the longer side is fitted into the input, centred'),
            ('down_ratio', str(DOWN_RATIO)),
        ]
    )
    if decoded:
        found['decoded'] = (
            'boxes: x1, y1, x2, y2 in pixels of the input; scores: probabilities, falling; classes: index of'
            ' the class'
        )
    else:
        found['decoded'] = 'no: hm logits, wh and reg in output cells'
    found['versions'] = json.dumps(
        OrderedDict(
            [
                ('centernet', __version__),
                ('numpy', np.__version__),
                ('onnx', onnx.__version__),
                ('python', platform.python_version()),
                ('torch', torch.__version__),
            ]
        )
    )
    return found


def save(graph, path, target, loaded=None, kept=None, decoded=False):
    """Write a file with its metadata.

    Args:
        graph: what to write; its metadata and producer are set.
        target: its name, or ``raw``.
        loaded: the checkpoint that it was made of, a LoadedModel, or None.
        kept: further metadata, text -> text; what ``loaded`` says wins.
        decoded: whether the graph has the decoder.

    Raises:
        OutputError: the file cannot be written.
    """
    graph.producer = PRODUCER
    graph.metadata.update(kept or {})
    if loaded is not None:
        graph.metadata.update(network_metadata(loaded))
    graph.metadata.update(file_metadata(graph, target, decoded))
    graph.save(path)


def _numbers(array):
    return json.dumps([float(str(value)) for value in array])
