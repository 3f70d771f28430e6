"""What the tests of exported files share: pictures, the network's own heads, and the comparison with them."""

import numpy as np
import torch

from centernet.detection import InputSpec, preprocess
from centernet.networks.runtimes.onnx_runtime import HAS_DEFORM_CONV
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork as OnnxRunner
from centernet.sample.scene import draw_scene

HEADS = {'hm': 3, 'wh': 2, 'reg': 2}
SIZE = 64
#: of the largest value of a head
TOLERANCE = 1e-4


def images(count=1, height=SIZE, width=SIZE):
    """Pictures like those that the random networks' statistics are of: on noise, torch's own rounding is
    larger than TOLERANCE."""
    return np.stack([preprocess(draw_scene([5, i]).image, InputSpec(height, width))[0] for i in range(count)])


def network(loaded, x):
    """The heads in torch, name -> tensor."""
    with torch.no_grad():
        return loaded.model(torch.from_numpy(x))


def assert_same(model, loaded, x):
    """The file or model gives what the network gives."""
    expected = network(loaded, x)
    for name, value in OnnxRunner(model, 'cpu', 1)(x)._asdict().items():
        assert (value - expected[name]).abs().max() <= TOLERANCE * expected[name].abs().max(), name


def runnable(target):
    """Whether this onnxruntime runs the target's files itself or through a translation."""
    return target != 'onnx' or HAS_DEFORM_CONV
