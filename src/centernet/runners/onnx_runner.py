"""ONNX files as runners: any file with one image input and a network's heads as outputs.

A file with a decoder has the outputs boxes, scores and classes instead (``centernet export --with-decode``);
it returns its own boxes.
"""

import os
from collections import OrderedDict
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
import onnxruntime
import torch

from ..detection import DECODED, DOWN_RATIO, HEADS, Heads, RawBoxes
from ..detection.heads import notes_on, of_outputs, ordered, why_no_boxes
from ..detection.normalization import FORMULA
from ..device import available_cpus
from ..errors import DeviceError, ModelError, OptionError
from ..files import sha256
from ..onnxfile.graph import of_model
from ..onnxfile.loading import ModelAndFiles, check_input, damage_named, read_model_and_files
from ..onnxfile.output_chain import OutputChain, chain_before
from .class_names import class_names_of_metadata
from .input_limits import InputLimits, metadata_normalization, metadata_size
from .onnx_compatibility import HAS_DEFORM_CONV, Runnable, make_runnable
from .onnx_devices import CPU, device_name, placement
from .output_names import note_on_exchanged, note_on_image

__all__ = ['HAS_DEFORM_CONV', 'OnnxRunner']

_DTYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(double)': np.float64}
# of an input whose size is open, to find out the number of classes
_TRIAL_SIZE = (128, 128)


class OnnxRunner:
    """A network in onnxruntime; :mod:`centernet.runners` describes the interface of all runners.

    Args:
        model: the path of a file, or a model in memory.
        device: ``auto`` (the first GPU if onnxruntime can use one, else the CPU), ``cpu``, ``cuda`` or
            ``cuda:N``.
        threads: CPU threads of one operator; None takes the cores that this process may use.

    Attributes:
        channels: of each head, by name.
        classes: channels of the heat map, 0 without one.
        heat_map: the :class:`~centernet.onnxfile.output_chain.OutputChain` of hm, None without hm.
        no_boxes: why the heads make no boxes, None if they do.
        class_names: their names in the file's metadata, or None.
        input_size: (height, width) that the file is fixed to, or None if it takes any.
        batch_size: the number of images that the file is fixed to, or None. A call takes any number all the
            same.
        meta_size: the size in the file's metadata, (height, width), or None.
        decodes: whether the file has a decoder.
        translated: the operator that was replaced to run the file, or None.
        decomposed: whether it was replaced by standard operators.
        metadata: the file's metadata.

    Raises:
        ModelError: the file is missing or damaged, has other inputs, no head among its outputs, or operators
            that cannot be run.
        DeviceError: the device is unknown, or onnxruntime cannot use it.
    """

    def __init__(
        self, model: Union[str, onnx.ModelProto], device: str = 'auto', threads: Optional[int] = None
    ) -> None:
        self.path = None if isinstance(model, onnx.ModelProto) else os.fspath(model)
        self._name = self.path or 'the model'
        self._threads = available_cpus() if threads is None else threads
        self._placement = placement(device)
        proto, files = ModelAndFiles(model, []) if self.path is None else read_model_and_files(self.path)
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.meta_size = metadata_size(self.metadata)
        self._sha256 = None if self.path is None else sha256(self.path)
        runnable = self._prepare(proto, files)
        with damage_named(self._name):
            graph = of_model(proto)
            self.heat_map = chain_before(graph, 'hm')
            self.notes = note_on_exchanged(graph) + note_on_image(graph) + _notes_on_metadata(graph.metadata)
            del graph
        del proto  # large networks do not fit into memory twice
        self.decodes, self.translated, self.decomposed = runnable[1:]
        self._session = self._start(runnable.model, auto=device == 'auto')
        del runnable
        with damage_named(self._name):  # names need not be text
            self._input, self._dtype, shape = self._find_input()
        check_input(self._name, shape)
        self.batch_size, *sides = (_fixed(shape[place]) for place in (0, 2, 3))
        if sides.count(None) == 1:
            raise ModelError(
                f'{self._name}: one side of its input {list(shape)} is fixed and the other is not'
            )
        self.input_size = None if None in sides else tuple(sides)
        with damage_named(self._name):
            self.channels = self._find_heads()
        self.classes = self.channels.get('hm', 0)
        self.no_boxes = why_no_boxes(self.channels)
        self.class_names = class_names_of_metadata(self.metadata, self.classes)
        self.arch = self.metadata.get('arch', 'unknown architecture')
        self.limits = InputLimits(
            fixed=self.input_size, stored=self.meta_size, normalization=metadata_normalization(self.metadata)
        )
        self.notes += [] if self.no_boxes else notes_on(self.channels)
        if 'hm' in self.channels:
            self.notes += _notes_on_heat_map(self.heat_map)
        if self.translated:
            into = 'standard operators' if self.decomposed else 'DeformConv'
            self.notes.append(f'{self.translated} runs through its translation to {into}')

    def __call__(self, images: np.ndarray) -> Union[Heads, RawBoxes]:
        """Run the network.

        Args:
            images: float32 array or tensor [N, 3, H, W].

        Returns:
            Heads, or the RawBoxes of a file with a decoder, on the CPU.

        Raises:
            OptionError: the images have another size than the file is fixed to.
            ModelError: onnxruntime fails, or an output has the wrong shape.
        """
        return self.boxes(images) if self.decodes else self.heads(images)

    def heads(self, images: np.ndarray) -> Heads:
        """The heads that make boxes; in a file with a decoder, those that go into it.

        Raises:
            ModelError: there are none, and as :meth:`__call__`.
        """
        outputs = self.outputs(images)
        if 'hm' in outputs:
            _check_heat_map(self._name, self.heat_map, outputs['hm'])
        return of_outputs(outputs, self.heat_map.is_probability)

    def outputs(self, images: np.ndarray) -> 'OrderedDict[str, torch.Tensor]':
        """Every head by its name, float32."""
        return OrderedDict(zip(self.channels, self._run(images, list(self.channels))))

    def boxes(self, images: np.ndarray) -> RawBoxes:
        """The boxes of a file's own decoder, in output cells as :func:`centernet.detection.decode` returns
        them."""
        boxes, scores, classes = self._run(images, DECODED)
        return RawBoxes(boxes / DOWN_RATIO, scores, classes)

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self._placement.device.split(':')[0]

    def identity(self) -> Dict[str, Any]:
        """What decides the output."""
        return {
            'runner': 'onnxruntime',
            'onnxruntime': onnxruntime.__version__,
            'model_sha256': self._sha256,
            'device_type': self.device_type,
            'translated': self.translated,
        }

    def describe(self) -> Dict[str, Any]:
        """The identity, and more for people."""
        found = dict(
            self.identity(),
            model=self.path,
            provider=self._session.get_providers()[0],
            device=self._placement.device,
            device_name=device_name(self._placement.device),
            onnx=onnx.__version__,
            metadata=self.metadata,
        )
        if self._placement == CPU:
            found['threads'] = self._threads
        return found

    def _prepare(self, proto, files) -> Runnable:
        with damage_named(self._name):
            try:
                return make_runnable(proto, self.path, files)
            except ModelError as error:
                raise ModelError(f'{self._name}: {error}') from error

    def _start(self, model, auto):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # hides its advice about files
        provider, device = self._placement
        try:
            session = onnxruntime.InferenceSession(
                model if isinstance(model, str) else model.SerializeToString(),
                options,
                providers=[provider] if self._placement == CPU else [provider, CPU.provider],
            )
        except Exception as error:  # onnxruntime's own kinds, which have no common base
            raise ModelError(
                f'onnxruntime {onnxruntime.__version__} cannot run {self._name}: {_first_line(error)}'
            ) from error
        if self._placement != CPU and 'CUDAExecutionProvider' not in session.get_providers():
            if not auto:
                raise DeviceError(
                    f'{device}: onnxruntime {onnxruntime.__version__} cannot use it; are the CUDA and cuDNN'
                    ' that it was built for installed?'
                )
            self._placement = CPU
        return session

    def _find_input(self) -> Tuple[str, type, Sequence[Union[int, str, None]]]:
        """(name, dtype, shape) of the image input."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(
                '{} has {} inputs ({}); a detector has one, the image'.format(
                    self._name, len(inputs), ', '.join(item.name for item in inputs)
                )
            )
        item = inputs[0]
        if item.type not in _DTYPES or len(item.shape) != 4 or _fixed(item.shape[1]) not in (3, None):
            raise ModelError(
                f'{self._name}: its input {item.name} is {item.type} {list(item.shape)}; an image batch is'
                ' float [N, 3, H, W]'
            )
        return item.name, _DTYPES[item.type], item.shape

    def _find_heads(self) -> 'OrderedDict[str, int]':
        """Find the heads, which are outputs [N, channels, H / 4, W / 4]; return their channels by name."""
        found = self._session.get_outputs()
        names = [item.name for item in found if item.name not in (DECODED if self.decodes else ())]
        for item in found:
            rank = len(item.shape or ())
            if item.name in HEADS and (item.type not in _DTYPES or rank not in (0, 4)):
                raise ModelError(
                    f'{self._name}: its output {item.name} is {item.type} {list(item.shape)}; it should be'
                    f' float [N, channels, H/{DOWN_RATIO}, W/{DOWN_RATIO}]'
                )
            if item.type not in _DTYPES or rank not in (0, 4):
                names = [name for name in names if name != item.name]
        channels = {item.name: _fixed(item.shape[1]) if item.shape else None for item in found}
        if None in [channels[name] for name in names]:
            image = np.zeros((1, 3) + (self.input_size or _TRIAL_SIZE), np.float32)
            channels = {
                name: array.shape[1] if array.dim() == 4 else 0
                for name, array in zip(names, self._run(image, names))
            }
        heads = OrderedDict((name, channels[name]) for name in names if channels[name])
        if not heads:
            raise ModelError(
                '{} has no head among its outputs: a detector has hm, wh and reg, this one has {}'.format(
                    self._name, ', '.join(item.name for item in found)
                )
            )
        return ordered(heads)

    def _run(self, images, names) -> List[torch.Tensor]:
        """Outputs as tensors (float32, or int64 for classes), whatever batch the file is fixed to."""
        images = np.asarray(images)
        size = tuple(images.shape[2:])
        if self.input_size is not None and size != self.input_size:
            raise OptionError(
                '{} takes images of {} x {} (height x width), not of {} x {}'.format(
                    self._name, *self.input_size + size
                )
            )
        step = self.batch_size or max(1, len(images))
        parts = [
            self._run_batch(images[start : start + step], names) for start in range(0, len(images), step)
        ]
        return [torch.from_numpy(np.concatenate(part)) for part in zip(*parts)]

    def _run_batch(self, images, names) -> List[np.ndarray]:
        """At most ``batch_size`` images; a batch that is too short is filled up with zeros."""
        count = len(images)
        if self.batch_size and count < self.batch_size:
            images = np.concatenate(
                [images, np.zeros((self.batch_size - count,) + images.shape[1:], images.dtype)]
            )
        try:
            found = self._session.run(list(names), {self._input: np.ascontiguousarray(images, self._dtype)})
        except Exception as error:
            raise ModelError(
                f'onnxruntime {onnxruntime.__version__} failed while running {self._name}:'
                f' {_first_line(error)}'
            ) from error
        arrays = dict(zip(names, found))
        for name, array in arrays.items():
            expected = _expected_shape(name, arrays, images.shape, self.decodes)
            if array.shape != expected:
                raise ModelError(
                    f'{self._name}: for an input {list(images.shape)} its output {name} has the shape'
                    f' {list(array.shape)}, not {list(expected)}'
                )
        return [
            array[:count].astype(np.int64 if name == 'classes' else np.float32, copy=False)
            for name, array in arrays.items()
        ]


def _expected_shape(name, arrays, image_shape, decodes):
    """The shape that an output must have: any number of channels and of boxes."""
    count, _, height, width = image_shape
    if name in HEADS:
        channels = arrays[name].shape[1] if arrays[name].ndim == 4 else 1
        return count, channels, height // DOWN_RATIO, width // DOWN_RATIO
    if name not in DECODED or not decodes:
        return (count,) + arrays[name].shape[1:]
    boxes = arrays['scores'].shape[1] if arrays['scores'].ndim == 2 else 0
    return (count, boxes, 4) if name == 'boxes' else (count, boxes)


def _notes_on_metadata(metadata: Dict[str, str]) -> List[str]:
    """What the metadata say of the input that is not done."""
    notes = []
    for key, usual in (('colour_order', 'BGR'), ('normalisation', FORMULA)):
        if metadata.get(key, usual) != usual:
            notes.append(
                f'warning: the metadata say {key} {metadata[key][:80]!r}; images are fed as {usual!r}'
            )
    if {'mean', 'std'} & set(metadata) and metadata_normalization(metadata) is None:
        notes.append('the metadata mean and std are ignored: they are not three numbers each')
    return notes


def _check_heat_map(name: str, chain: OutputChain, hm: torch.Tensor) -> None:
    """Raise ModelError for a heat map that is neither logits nor probabilities."""
    if chain.is_probability and not 0 <= float(hm.min()) <= float(hm.max()) <= 1:
        raise ModelError(f'{name}: its output hm should be a probability ({chain}), and is not')
    if chain.only_peaks and not chain.is_probability:
        raise ModelError(
            f'{name}: its output hm holds logits at peaks and 0 elsewhere, which would mean a score of 0.5;'
            ' centernet modify removes the search for peaks'
        )


def _notes_on_heat_map(chain: OutputChain) -> List[str]:
    """What was assumed of the output hm, in lines for people."""
    if chain.is_probability:
        return ['hm is a probability in this file ({}), and is taken as it is'.format(chain)]
    if chain.convolution is None and chain.nodes:
        return [f'hm is taken as logits: what computes it is not understood ({chain})']
    return []


def _fixed(length):
    """A side that the file fixes, as an int; None for an open one."""
    return length if isinstance(length, int) and length > 0 else None


def _first_line(error):
    return ' '.join((str(error).strip() or type(error).__name__).splitlines()[0].split())[:300]
