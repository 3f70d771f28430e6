"""What every network has: what is known about it, and float32 images in, heads or boxes out."""

from collections import OrderedDict
from typing import Any, Mapping, Optional, Tuple, Union

import attr
import numpy as np
import torch

from ..detection import Heads, Normalization, RawBoxes
from ..detection.heads import of_outputs, why_no_boxes
from ..onnxfile.output_chain import OutputChain
from ..options.fields import DIGITS, RUN, option
from ..system.errors import ModelError, OptionError
from ..system.precision import FP32

Size = Optional[Tuple[int, int]]
FirstLayers = Tuple[torch.nn.Conv2d, torch.nn.BatchNorm2d]


def array_in_words(value: Any) -> str:
    """The dtype and shape of an array, such as ``uint8 [480, 640, 3]``; anything else as Python shows it."""
    return f'{value.dtype} {list(value.shape)}' if isinstance(value, np.ndarray) else repr(value)[:80]


@attr.s(auto_attribs=True, frozen=True, kw_only=True)
class NetworkInfo:
    """Everything that is known about a network.

    Attributes:
        file: its path; None for a network that is in memory alone.
        sha256: of the file.
        entry: the entry of a checkpoint that the weights are; '' where the file holds nothing else.
        arch: the architecture.
        epoch: of the training.
        heads: name -> channels.
        class_names: by channel of the heat map, or None.
        step: both sides of the input are multiples of it.
        fixed: the only input size that the file takes, (height, width) in pixels, or None.
        stored: the input size that the file records as its own, or None.
        normalization: the one that the file records, or None.
        precision: one of :data:`centernet.system.precision.PRECISIONS`.
        runtime: the name of an entry of :data:`centernet.networks.runtimes.RUNTIMES`.
        device: ``cpu`` or ``cuda:N``; ``device_name``: the processor's or the GPU's; ``capability``: the
            GPU's.
        provider: what runs it within the runtime.
        threads: on a CPU; None for the runtime's own number.
        batch_size: the number of images that the file is fixed to, or None. A call takes any number all the
            same.
        decodes: whether it has a decoder, and so gives boxes.
        translated: the operator that was replaced to run the file, or None.
        versions: of the runtime.
        metadata: of the file, as text.
        notes: what was assumed, a line each.
    """

    file: Optional[str] = option(row='file')
    sha256: Optional[str] = option(means=RUN, row='SHA-256 of the file')
    entry: Optional[str] = option(means=RUN)
    arch: str = option('', means=RUN)
    epoch: Optional[int] = option()
    heads: Mapping[str, int] = option(attr.NOTHING, dump=dict, load=OrderedDict)
    class_names: Optional[Tuple[str, ...]] = option()
    step: int = option(32)
    fixed: Size = option()
    stored: Size = option()
    normalization: Optional[Normalization] = option(load=lambda parts: Normalization(*map(tuple, parts)))
    precision: str = option(FP32, means=RUN, row='precision')
    runtime: str = option(attr.NOTHING, means=RUN, row='runtime')
    device: str = option(attr.NOTHING)
    device_name: Optional[str] = option()
    capability: Optional[str] = option()
    provider: Optional[str] = option()
    threads: Optional[int] = option()
    batch_size: Optional[int] = option()
    decodes: bool = option(False)
    translated: Optional[str] = option(means=DIGITS)
    versions: Mapping[str, Optional[str]] = option(attr.Factory(dict))
    metadata: Mapping[str, str] = option(attr.Factory(dict))
    notes: Tuple[str, ...] = option(())

    @property
    def classes(self) -> int:
        """Channels of the heat map; 0 without one."""
        return self.heads.get('hm', 0)

    @property
    def no_boxes(self) -> Optional[str]:
        """Why the heads make no boxes, or None if they do."""
        return why_no_boxes(self.heads)

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.split(':')[0]


class Network:
    """A network of any runtime.

    Attributes:
        info: what is known about it.
        heat_map: what computes hm: logits, or a probability, or one only at peaks.
    """

    info: NetworkInfo
    heat_map = OutputChain(None, ())

    def __call__(self, images: np.ndarray) -> Union[Heads, RawBoxes]:
        """Run a batch. It returns when the result is complete, so that the caller can time it.

        Args:
            images: float32 [N, 3, H, W]; H and W are multiples of ``info.step``.

        Returns:
            Heads, float32 tensors on any device; the RawBoxes of a network with a decoder.

        Raises:
            OptionError: the images are not such an array, or have another size than the file is fixed to.
            ModelError: the runtime fails, an output has the wrong shape, or the heads make no boxes.
        """
        name, step = self.info.file or 'the network', self.info.step
        is_batch = isinstance(images, np.ndarray) and images.dtype == np.float32 and images.ndim == 4
        if not is_batch or images.shape[1] != 3 or not images.size:
            raise OptionError(f'{name} takes a float32 array [N, 3, H, W], not {array_in_words(images)}')
        height, width = images.shape[2:]
        if self.info.fixed is None and (height % step or width % step):
            raise OptionError(f'{name} takes sides that are multiples of {step}, not {height} x {width}')
        return self.boxes(images) if self.info.decodes else self.heads(images)

    def heads(self, images: np.ndarray) -> Heads:
        """The heads that make boxes; of a network with a decoder, those that go into it."""
        outputs, chain, name = self.outputs(images), self.heat_map, self.info.file or 'the model'
        heads = of_outputs(outputs, chain.is_probability)
        if chain.is_probability and not 0 <= outputs['hm'].min() <= outputs['hm'].max() <= 1:
            raise ModelError(f'{name}: its output hm should be a probability ({chain}), and is not')
        if chain.only_peaks and not chain.is_probability:
            raise ModelError(f'{name}: hm holds logits at peaks alone; centernet modify mends that')
        return heads

    def outputs(self, images: np.ndarray) -> 'OrderedDict[str, torch.Tensor]':
        """Every head by its name, float32, in the order hm, wh, reg, others."""
        raise NotImplementedError

    def boxes(self, images: np.ndarray) -> RawBoxes:
        """The boxes of the network's own decoder, in output cells as :func:`centernet.detection.decode`
        returns them."""
        raise NotImplementedError

    def plain(self) -> 'Network':
        """The same network as the reference of a proof: in torch's own layers. Itself in other runtimes."""
        return self

    def first_layers(self) -> Optional[FirstLayers]:
        """The convolution that reads the image, and the BatchNorm behind it, if that was trained and the
        runtime knows both."""
        return None
