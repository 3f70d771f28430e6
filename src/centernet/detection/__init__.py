"""From an image to its detections: ``preprocess``, the network, ``decode``, ``postprocess``, ``merge``.

>>> import numpy as np, torch
>>> image = np.zeros((480, 640, 3), dtype=np.uint8)
>>> planes, geometry = preprocess(image, InputSpec(height=512, width=512))
>>> planes.shape
(3, 512, 512)
>>> heads = Heads(torch.zeros(1, 80, 128, 128), torch.ones(1, 2, 128, 128), torch.zeros(1, 2, 128, 128))
>>> detections, = postprocess(decode(heads, k=100), [geometry])
>>> merge([detections]).shape
(100, 6)
"""

from ..options.normalization import COCO, NORMALIZATIONS, InputSpec, Normalization
from .decode import decode
from .geometry import Geometry
from .heads import DECODED, DOWN_RATIO, HEADS, Heads, RawBoxes
from .postprocess import merge, postprocess
from .preprocess import mirror, preprocess, warp
from .soft_nms import soft_nms

__all__ = [
    'COCO',
    'DECODED',
    'DOWN_RATIO',
    'HEADS',
    'Geometry',
    'Heads',
    'InputSpec',
    'NORMALIZATIONS',
    'Normalization',
    'RawBoxes',
    'decode',
    'merge',
    'mirror',
    'postprocess',
    'preprocess',
    'soft_nms',
    'warp',
]
