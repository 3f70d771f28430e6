"""ONNX files as runners: any file with one image input and the outputs hm, wh and reg.

A file with a decoder has the outputs boxes, scores and classes instead (``centernet export --with-decode``);
it gives its own boxes.

Files for ATC and for TensorRT-CenterNet have an operator that no onnxruntime knows; they run through a
translation: to ONNX's DeformConv where onnxruntime has it (>= 1.26), else to standard operators of opset 11.
"""

import json
import os
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

from ..detection import DECODED, DOWN_RATIO, HEADS, Heads, RawBoxes
from ..device import available_cpus
from ..errors import DeviceError, ModelError, OptionError
from ..files import sha256
from ..onnxfile.decompose import decompose
from ..onnxfile.graph import of_model
from ..onnxfile.loading import check_input, damages_named, read_model_and_files
from ..onnxfile.shapes import examine
from . import translation
from .limits import InputLimits, stored_size

#: onnxruntime's version as a tuple of two integers
RUNTIME_VERSION = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
#: the first onnxruntime whose DeformConv was found right (the operator came with 1.25)
HAS_DEFORM_CONV = RUNTIME_VERSION >= (1, 26)
# onnxruntime's release -> the newest opset that it runs; from 1.17 on, newer ones than are written here.
_OPSETS = (
    ((1, 0), 11),
    ((1, 3), 12),
    ((1, 7), 13),
    ((1, 8), 14),
    ((1, 9), 15),
    ((1, 11), 16),
    ((1, 12), 17),
    ((1, 14), 18),
    ((1, 15), 19),
    ((1, 17), 99),
)
_NUMBERS = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(double)': np.float64}


class OnnxRunner:
    """A network in onnxruntime; see :mod:`centernet.evaluation.runners` for the face that all runners share.

    Args:
        model: path of the file, or a model in memory.
        device: ``auto`` (the first GPU if onnxruntime can use one, else the CPU), ``cpu``, ``cuda`` or
            ``cuda:N``.
        threads: CPU threads of one operator; None takes the cores this process may use.

    Attributes:
        classes: channels of the heat map.
        input_size: (height, width) that the file is fixed to, or None where it takes any.
        batch_size: images that the file is fixed to, or None. Any number of images can be given all the same.
        decodes: whether it has a decoder.
        translated: the operator that was replaced to run the file, or None. lowered: whether by standard
            operators.
        device_type: ``cpu`` or ``cuda``.
        metadata: what the file says about itself, text by name.

    Raises:
        ModelError: the file is missing or damaged, has other inputs or outputs, or operators that cannot be
            run.
        DeviceError: the device is unknown, or onnxruntime cannot use it.
    """

    def __init__(
        self, model: Union[str, onnx.ModelProto], device: str = 'auto', threads: Optional[int] = None
    ) -> None:
        self.path = None if isinstance(model, onnx.ModelProto) else os.fspath(model)
        self._name = self.path or 'the model'
        self._threads = available_cpus() if threads is None else threads
        provider, self._device = _provider(device)
        proto, files = (model, []) if self.path is None else read_model_and_files(self.path)
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self._sha256 = None if self.path is None else sha256(self.path)
        with damages_named(self._name):
            _refuse_growth(proto)
            self.decodes = _has_decoder(proto)
            self.translated, runnable = self._runnable(proto)
        if not isinstance(runnable, onnx.ModelProto) and files:
            runnable = proto  # onnxruntime is not to open those files itself
        self.decomposed = self.translated is not None and not HAS_DEFORM_CONV
        del proto
        self._session = self._start(runnable, provider, auto=device == 'auto')
        del runnable
        self._input, self._dtype, shape = self._find_input()
        self.batch_size, self.input_size = _fixed(shape[0]), None
        check_input(self._name, shape)
        sides = tuple(map(_fixed, shape[2:]))
        if None not in sides:
            self.input_size = sides
        elif sides != (None, None):
            raise ModelError(
                f'{self._name}: one side of its input {list(shape)} is fixed and the other is not'
            )
        self.classes = self._check_outputs()
        self.arch = self.metadata.get('arch', 'unknown architecture')
        self.limits = InputLimits(fixed=self.input_size, stored=_stored_size(self.metadata))
        self.notes = []
        if self.translated:
            into = 'standard operators' if self.decomposed else 'DeformConv'
            self.notes.append(f'{self.translated} runs through its translation to {into}')

    def __call__(self, images: np.ndarray) -> Union[Heads, RawBoxes]:
        """float32 array or tensor [N, 3, H, W] -> Heads, or the RawBoxes of a file with a decoder; on the
        CPU.

        Raises:
            OptionError: the images are of another size than the file is fixed to.
            ModelError: onnxruntime fails, or an output has the wrong shape.
        """
        return self.boxes(images) if self.decodes else self.heads(images)

    def heads(self, images: np.ndarray) -> Heads:
        """The heads, float32; of a file with a decoder those that go into it."""
        return Heads(*self._run(images, HEADS))

    def boxes(self, images: np.ndarray) -> RawBoxes:
        """The boxes that a file's own decoder gives, in output cells as :func:`centernet.detection.decode`
        has them."""
        boxes, scores, classes = self._run(images, DECODED)
        return RawBoxes(boxes / DOWN_RATIO, scores, classes)

    @property
    def device_type(self) -> str:
        return self._device.split(':')[0]

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
        """For people."""
        about = {
            'model': self.path,
            'provider': self._session.get_providers()[0],
            'device': self._device,
            'onnx': onnx.__version__,
            'metadata': self.metadata,
        }
        return dict(
            self.identity(), **(about if self._device != 'cpu' else dict(about, threads=self._threads))
        )

    def _runnable(self, proto):
        """(the operator that was translated or None, the path or model to start)."""
        counts = translation.operators(proto)
        custom = sorted(set(counts) & set(translation.CUSTOM_OPERATORS))
        translate = custom or (counts and not HAS_DEFORM_CONV)
        if not translate and not self.decodes and not self._is_too_new(proto):
            return None, self.path or proto
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        if self.decodes:
            changed.graph.output.extend(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in HEADS
            )
        if not translate and not self._is_too_new(proto):
            return None, changed
        try:
            translation.to_standard(changed)
            if HAS_DEFORM_CONV:
                changed = translation.raise_opset(changed)
            else:
                changed = _decomposed(changed)
        except ModelError as error:
            raise ModelError(f'{self._name}: {error}') from error
        return (custom or [translation.STANDARD_OPERATOR] if counts else [None])[0], changed

    def _is_too_new(self, proto):
        """Whether the file names an opset that this onnxruntime has not; what networks are made of is often
        older than that."""
        try:
            return translation.opset(proto) > _newest_opset()
        except ModelError as error:
            raise ModelError(f'{self._name}: {error}') from error

    def _start(self, runnable, provider, auto):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # not its advice about files
        try:
            session = onnxruntime.InferenceSession(
                runnable if isinstance(runnable, str) else runnable.SerializeToString(),
                options,
                providers=[provider, 'CPUExecutionProvider'][: 2 if self._device != 'cpu' else 1],
            )
        except Exception as error:  # onnxruntime's own kinds, which have no common base
            raise ModelError(
                f'onnxruntime {onnxruntime.__version__} cannot run {self._name}: {_first_line(error)}'
            ) from error
        if self._device != 'cpu' and 'CUDAExecutionProvider' not in session.get_providers():
            if not auto:
                raise DeviceError(
                    f'{self._device} was asked for, but onnxruntime {onnxruntime.__version__} could not use'
                    ' it: are the CUDA and cuDNN that it was built for installed?'
                )
            self._device = 'cpu'
        return session

    def _find_input(self):
        """(name, dtype, shape) of the image input."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(
                '{} has {} inputs ({}); a detector has one, the image'.format(
                    self._name, len(inputs), ', '.join(item.name for item in inputs)
                )
            )
        item = inputs[0]
        if item.type not in _NUMBERS or len(item.shape) != 4 or _fixed(item.shape[1]) not in (3, None):
            raise ModelError(
                f'{self._name}: its input {item.name} is {item.type} {list(item.shape)}; an image batch is'
                ' float [N, 3, H, W]'
            )
        return item.name, _NUMBERS[item.type], item.shape

    def _check_outputs(self):
        """Look for the heads by name; returns the number of classes."""
        outputs = {item.name: item for item in self._session.get_outputs()}
        missing = [name for name in HEADS if name not in outputs]
        if missing:
            raise ModelError(
                '{} has no output {}: a detector has hm, wh and reg, this one has {}'.format(
                    self._name, ' or '.join(missing), ', '.join(outputs)
                )
            )
        for name in () if self.decodes else HEADS:
            shape, kind = outputs[name].shape, outputs[name].type
            if kind not in _NUMBERS or (
                shape and (len(shape) != 4 or (name != 'hm' and _fixed(shape[1]) not in (2, None)))
            ):
                raise ModelError(
                    '{}: its output {} is {} {}; {}'.format(
                        self._name,
                        name,
                        kind,
                        list(shape),
                        (
                            'a heat map is float [N, classes, H/4, W/4]'
                            if name == 'hm'
                            else 'it should be float [N, 2, H/4, W/4]'
                        ),
                    )
                )
        shape = outputs['hm'].shape
        if shape and _fixed(shape[1]):
            return shape[1]
        size = self.input_size or (128, 128)
        return self._run(np.zeros((1, 3) + size, np.float32), HEADS)[0].shape[1]

    def _run(self, images, names):
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

    def _run_batch(self, images, names):
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
        height, width = images.shape[2] // DOWN_RATIO, images.shape[3] // DOWN_RATIO
        for name, array in zip(names, found):
            if name in HEADS:
                expected = (
                    len(images),
                    array.shape[1] if name == 'hm' and array.ndim == 4 else 2,
                    height,
                    width,
                )
            else:
                expected = (len(images), found[1].shape[1] if found[1].ndim == 2 else 0) + (
                    (4,) if name == 'boxes' else ()
                )
            if array.shape != expected:
                raise ModelError(
                    f'{self._name}: for an input {list(images.shape)} its output {name} has the shape'
                    f' {list(array.shape)}, not {list(expected)}'
                )
        return [
            array[:count].astype(np.int64 if name == 'classes' else np.float32, copy=False)
            for name, array in zip(names, found)
        ]


def _stored_size(metadata):
    """The input size that a file records, or None."""
    try:
        return stored_size(json.loads(metadata.get('input_size', '')))
    except ValueError:
        return None


def _refuse_growth(model):
    """Raise ModelError for a graph that computes huge constants, which onnxruntime would do before it is
    run."""
    graph = of_model(model)
    graph.nodes = graph.sorted_nodes()
    examine(graph, lenient=True)


def _has_decoder(model):
    """Whether a file gives boxes, and the heads that they are made of are in it."""
    outputs = {value.name for value in model.graph.output}
    inside = {name for node in model.graph.node for name in node.output}
    return set(DECODED) <= outputs and not outputs & set(HEADS) and inside >= set(HEADS)


def _decomposed(model):
    """For an onnxruntime without DeformConv: standard operators of opset 11."""
    plain = of_model(model)
    decompose(plain)
    # What a network is made of has the same form in the newer opsets; where that is not so, onnxruntime
    # refuses it.
    plain.opset = min(plain.opset, _newest_opset())
    return plain.to_model()


def _newest_opset():
    """The newest opset that this onnxruntime runs, or a newer one than any file here has."""
    return max(opset for release, opset in _OPSETS if RUNTIME_VERSION >= release)


def _provider(name) -> Tuple[str, str]:
    """(execution provider, device) for ``--device``."""
    kind, _, index = name.partition(':')
    if (
        kind not in ('auto', 'cpu', 'cuda')
        or (index and (kind != 'cuda' or not index.isdigit()))
        or name.endswith(':')
    ):
        raise DeviceError(f"unknown device '{name}': give auto, cpu, cuda or cuda:N")
    there = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    if kind == 'cpu' or (kind == 'auto' and not there):
        return 'CPUExecutionProvider', 'cpu'
    if not there:
        raise DeviceError(
            f'{name} was asked for, but onnxruntime {onnxruntime.__version__} is built without CUDA: give'
            ' --device cpu, or install onnxruntime-gpu'
        )
    number = int(index or 0)
    return ('CUDAExecutionProvider', {'device_id': number}), f'cuda:{number}'


def _fixed(length):
    """A side that the file fixes, as an int; None for one that has a name or nothing."""
    return length if isinstance(length, int) and length > 0 else None


def _first_line(error):
    return ' '.join((str(error).strip() or type(error).__name__).splitlines()[0].split())[:300]
