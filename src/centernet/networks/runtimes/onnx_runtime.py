"""Run an ONNX file in onnxruntime: any file with one image input and a network's heads as outputs.

A file with a decoder has the outputs boxes, scores and classes instead (``centernet export --with-decode``);
it returns its own boxes.
"""

import os
from collections import OrderedDict
from typing import Any, List, Optional, Sequence, Union

import numpy as np
import onnx
import onnxruntime
import torch

from ...detection import DECODED, DOWN_RATIO, HEADS, RawBoxes
from ...detection.heads import notes_on, ordered, why_no_boxes
from ...onnxfile.graph import of_model
from ...onnxfile.loading import ModelAndFiles, check_input, damage_named, read_model_and_files
from ...onnxfile.output_chain import chain_before
from ...system.device import available_cpus, describe_device, parse_device
from ...system.errors import DeviceError, ModelError, OptionError
from ...system.files import sha256
from ..facts import facts_of_metadata
from ..network import Network, NetworkInfo
from ..output_names import note_on_exchanged, note_on_image
from .onnx_compatibility import HAS_DEFORM_CONV, RUNTIME_VERSION, make_runnable

__all__ = ['HAS_DEFORM_CONV', 'OnnxNetwork', 'open_file']

_DTYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(double)': np.float64}
# of an input whose size is open, to find out the number of classes
_TRIAL_SIZE = (128, 128)


class OnnxNetwork(Network):
    """A network in onnxruntime.

    Args:
        model: the path of a file, or a model in memory.
        device: ``auto`` (the first GPU if onnxruntime can use one, else the CPU), ``cpu``, ``cuda`` or
            ``cuda:N``.
        threads: CPU threads of one operator; None takes the cores that this process may use.

    Raises:
        ModelError: the file is missing or damaged, has other inputs, no head among its outputs, or operators
            that cannot be run.
        DeviceError: the device is unknown, or onnxruntime cannot use it.
    """

    def __init__(
        self, model: Union[str, onnx.ModelProto], device: str = 'auto', threads: Optional[int] = None
    ) -> None:
        path = None if isinstance(model, onnx.ModelProto) else os.fspath(model)
        self._name = path or 'the model'
        used, threads = _resolve(device), available_cpus() if threads is None else threads
        proto, files = ModelAndFiles(model, []) if path is None else read_model_and_files(path)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        with damage_named(self._name):
            try:
                graph = of_model(proto)
                runnable = make_runnable(proto, graph.copy(), path, files)
            except ModelError as error:
                raise ModelError(f'{self._name}: {error}') from error
            self.heat_map = chain_before(graph, 'hm')
            notes = note_on_exchanged(graph) + note_on_image(graph)
        del proto, graph  # large networks do not fit into memory twice
        self._decodes = runnable.decodes
        self._start(runnable.model, used, threads)
        if used != 'cpu' and 'CUDAExecutionProvider' not in self._session.get_providers():
            if device != 'auto':
                raise DeviceError(f'{used}: onnxruntime finds no CUDA and cuDNN that it was built for')
            used = 'cpu'
        with damage_named(self._name):  # names need not be text
            self._find_input()
            heads = self._find_heads()
        facts = facts_of_metadata(metadata, heads.get('hm', 0))
        notes += facts.notes
        notes += [] if why_no_boxes(heads) else notes_on(heads)
        chain = self.heat_map
        if 'hm' in heads and chain.is_probability:
            notes.append(f'hm is a probability in this file ({chain}), and is taken as it is')
        elif 'hm' in heads and chain.convolution is None and chain.nodes:
            notes.append(f'hm is taken as logits: what computes it is not understood ({chain})')
        if runnable.translated:
            into = 'DeformConv' if HAS_DEFORM_CONV else 'standard operators'
            notes.append(f'{runnable.translated} runs through its translation to {into}')
        named = used == 'cpu' or torch.cuda.is_available()
        self.info = NetworkInfo(
            file=path,
            sha256=path and sha256(path),
            arch=metadata.get('arch', 'unknown architecture'),
            heads=heads,
            runtime='onnxruntime',
            device=used,
            device_name=describe_device(torch.device(used))['device_name'] if named else None,
            provider=self._session.get_providers()[0],
            threads=threads if used == 'cpu' else None,
            batch_size=self._batch_size,
            decodes=runnable.decodes,
            translated=runnable.translated,
            versions={'onnxruntime': onnxruntime.__version__, 'onnx': onnx.__version__},
            metadata=metadata,
            **dict(facts._asdict(), fixed=self._size, notes=tuple(notes)),
        )

    def outputs(self, images: np.ndarray) -> 'OrderedDict[str, torch.Tensor]':
        """Every head by its name, on the CPU."""
        names = list(self.info.heads)
        return OrderedDict(zip(names, self._run(images, names)))

    def boxes(self, images: np.ndarray) -> RawBoxes:
        """The boxes of the file's own decoder, on the CPU."""
        boxes, scores, classes = self._run(images, DECODED)
        return RawBoxes(boxes / DOWN_RATIO, scores, classes)

    def _start(self, model: Any, device: str, threads: int) -> None:
        """Start the session."""
        providers: List[Any] = ['CPUExecutionProvider']
        if device != 'cpu':
            cuda = {'device_id': int(device.split(':')[1])}
            if RUNTIME_VERSION >= (1, 18):
                cuda['use_tf32'] = 0  # as with --precision fp32; older versions have no choice
            providers.insert(0, ('CUDAExecutionProvider', cuda))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # hides its advice about files
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, str) else model.SerializeToString(), options, providers=providers
            )
        except Exception as error:  # onnxruntime's own kinds, which have no common base
            raise self._failure('cannot run', error) from error

    def _find_input(self) -> None:
        """Find the image input, its type, batch and size."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ', '.join(item.name for item in inputs)
            raise ModelError(f'{self._name} has {len(inputs)} inputs ({names}); a detector has one image')
        item = inputs[0]
        if item.type not in _DTYPES or len(item.shape) != 4 or _fixed(item.shape[1]) not in (3, None):
            raise ModelError(f'{self._name}: its input {item.type} {item.shape} is no float [N, 3, H, W]')
        check_input(self._name, item.shape)
        self._input, self._dtype = item.name, _DTYPES[item.type]
        self._batch_size, _, *sides = map(_fixed, item.shape)
        self._size = None if None in sides else tuple(sides)

    def _find_heads(self) -> 'OrderedDict[str, int]':
        """Find the heads, which are outputs [N, channels, H / 4, W / 4]; return their channels by name."""
        channels = OrderedDict()
        outputs = self._session.get_outputs()
        for item in outputs:
            if item.type in _DTYPES and len(item.shape or ()) in (0, 4):
                channels[item.name] = _fixed(item.shape[1]) if item.shape else None
        for name in DECODED if self._decodes else ():
            channels.pop(name, None)
        if None in channels.values():
            image = np.zeros((1, 3) + (self._size or _TRIAL_SIZE), np.float32)
            found = self._run(image, list(channels))
            channels.update(
                (name, array.shape[1] if array.dim() == 4 else 0) for name, array in zip(channels, found)
            )
        heads = ordered({name: count for name, count in channels.items() if count})
        if not heads:
            names = ', '.join(item.name for item in outputs)
            raise ModelError(f'{self._name}: its outputs {names} are no heads; a detector has hm, wh and reg')
        return heads

    def _run(self, images: Any, names: Sequence[str]) -> List[torch.Tensor]:
        """Outputs as tensors (float32, or int64 for classes), whatever batch the file is fixed to."""
        size = tuple(images.shape[2:])
        if self._size not in (None, size):
            sizes = [f'{height} x {width}' for height, width in (self._size, size)]
            raise OptionError(f'{self._name} takes images of {sizes[0]} (height x width), not of {sizes[1]}')
        step = self._batch_size or len(images)
        starts = range(0, len(images), step)
        parts = [self._run_batch(images[start : start + step], names) for start in starts]
        return [torch.from_numpy(np.concatenate(part)) for part in zip(*parts)]

    def _run_batch(self, images: np.ndarray, names: Sequence[str]) -> List[np.ndarray]:
        """At most ``batch_size`` images; a batch that is too short is filled up with zeros."""
        count = len(images)
        if self._batch_size:
            images = np.pad(images, [(0, self._batch_size - count), (0, 0), (0, 0), (0, 0)], 'constant')
        try:
            found = self._session.run(list(names), {self._input: np.ascontiguousarray(images, self._dtype)})
        except Exception as error:
            raise self._failure('failed while running', error) from error
        cells = tuple(side // DOWN_RATIO for side in images.shape[2:])
        for name, array in zip(names, found):
            if array.shape[:1] != images.shape[:1] or (name in HEADS and array.shape[2:] != cells):
                raise ModelError(
                    f'{self._name}: its output {name} is {array.shape} for images {images.shape}'
                )
        return [
            array[:count].astype(np.int64 if name == 'classes' else np.float32, copy=False)
            for name, array in zip(names, found)
        ]

    def _failure(self, what: str, error: Exception) -> ModelError:
        said = ' '.join((str(error).strip() or type(error).__name__).splitlines()[0].split())[:300]
        return ModelError(f'onnxruntime {onnxruntime.__version__} {what} {self._name}: {said}')


def _resolve(name: str) -> str:
    """Choose ``cpu`` or ``cuda:N`` for ``--device``.

    Raises:
        DeviceError: the name is unknown, or onnxruntime was built without CUDA.
    """
    kind, index = parse_device(name)
    has_cuda = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    if kind == 'cpu' or (kind == 'auto' and not has_cuda):
        return 'cpu'
    if not has_cuda:
        raise DeviceError(f'{name}: onnxruntime has no CUDA; install onnxruntime-gpu, or use --device cpu')
    return f'cuda:{index or 0}'


def _fixed(length: Union[int, str, None]) -> Optional[int]:
    """A side that the file fixes, as an int; None for an open one."""
    return length if isinstance(length, int) and length > 0 else None


#: as :func:`~centernet.networks.open_network` calls it
open_file = OnnxNetwork
