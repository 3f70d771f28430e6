#!/usr/bin/env python3
"""Run a compiled network on the images of a manifest, and write what centernet eval-outputs reads.

    python3 run_device.py model.om --images val2017              # Ascend: ais_bench's InferSession
    python3 run_device.py model.engine --images val2017          # TensorRT 8.5 or newer, and cuda-python

Copy this script with manifest.json, the network and the images; it needs numpy and OpenCV, but not centernet.
Images are read and preprocessed here, and of each output only the cells around the best peaks are kept, some
kilobytes instead of megabytes. The outputs of the reference images are kept whole.
"""

import argparse
import hashlib
import json
import os
import sys
import time
import zlib
from typing import Any, Dict, List, Optional, Sequence

import cv2
import numpy as np


class Problem(Exception):
    """What stops a run, in one line."""


class Ascend:
    """An .om, through ais_bench of Ascend's tools.

    Args:
        path: of the .om.
        device: its number.
    """

    def __init__(self, path: str, device: int) -> None:
        from ais_bench.infer.interface import InferSession

        self.session = InferSession(device, path)
        self.batch = self.session.get_inputs()[0].shape[0]
        self.names = [str(number) for number in range(len(self.session.get_outputs()))]

    def __call__(self, images: np.ndarray) -> List[np.ndarray]:
        """The outputs of a batch, float32 [batch, 3, H, W]."""
        return [np.asarray(output) for output in self.session.infer([images], mode='static')]


class TensorRT:
    """An engine, through TensorRT's and CUDA's Python packages.

    Args:
        path: of the engine.
        device: number of the GPU.
    """

    def __init__(self, path: str, device: int) -> None:
        import tensorrt

        try:
            from cuda.bindings import runtime
        except ImportError:  # cuda-python before 12.6
            from cuda import cudart as runtime
        self.cuda, self.trt = runtime, tensorrt
        self._check(runtime.cudaSetDevice(device))
        logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        with open(path, 'rb') as file:
            self.engine = tensorrt.Runtime(logger).deserialize_cuda_engine(file.read())
        if self.engine is None:
            raise Problem('{}: TensorRT {} cannot read it'.format(path, tensorrt.__version__))
        self.context = self.engine.create_execution_context()
        self.stream = self._check(runtime.cudaStreamCreate())
        names = [self.engine.get_tensor_name(number) for number in range(self.engine.num_io_tensors)]
        inputs = [name for name in names if self.engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        self.names = [name for name in names if name not in inputs]
        self.input = inputs[0]
        self.batch = max(1, self.engine.get_tensor_shape(self.input)[0])
        self.buffers = {}

    def _check(self, result):
        error, values = result[0], result[1:]
        if int(error) != 0:
            raise Problem('CUDA: {}'.format(error))
        return values[0] if values else None

    def __call__(self, images: np.ndarray) -> List[np.ndarray]:
        """The outputs of a batch, float32 [batch, 3, H, W]."""
        self.context.set_input_shape(self.input, images.shape)
        arrays = {self.input: images.astype(self.trt.nptype(self.engine.get_tensor_dtype(self.input)))}
        for name in self.names:
            dtype = self.trt.nptype(self.engine.get_tensor_dtype(name))
            arrays[name] = np.empty(tuple(self.context.get_tensor_shape(name)), dtype)
        copy, kinds = self.cuda.cudaMemcpy, self.cuda.cudaMemcpyKind
        for name, array in arrays.items():
            if name not in self.buffers:
                self.buffers[name] = self._check(self.cuda.cudaMalloc(array.nbytes))
                self.context.set_tensor_address(name, int(self.buffers[name]))
        host, buffer = arrays[self.input], self.buffers[self.input]
        self._check(copy(buffer, host.ctypes.data, host.nbytes, kinds.cudaMemcpyHostToDevice))
        if not self.context.execute_async_v3(self.stream):
            raise Problem('TensorRT: the engine failed')
        self._check(self.cuda.cudaStreamSynchronize(self.stream))
        for name in self.names:
            host, buffer = arrays[name], self.buffers[name]
            self._check(copy(host.ctypes.data, buffer, host.nbytes, kinds.cudaMemcpyDeviceToHost))
        return [arrays[name] for name in self.names]


def read_input(path: str, image: Dict[str, Any], protocol: Dict[str, Any]) -> np.ndarray:
    """float32 [3, H, W], the same bits as centernet's; ``image``: its entry in the manifest."""
    picture = cv2.imread(path, cv2.IMREAD_COLOR)
    if picture is None:
        raise Problem('{}: cannot be read'.format(path))
    matrix = np.array(image['matrix'], np.float64).reshape(2, 3)
    size = (protocol['input_width'], protocol['input_height'])
    warped = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR)
    mean, std = (np.array(protocol['normalization'][key], np.float32) for key in ('mean', 'std'))
    table = ((np.arange(256)[:, np.newaxis] / 255.0 - mean) / std).astype(np.float32)
    return np.stack([table[warped[:, :, channel], channel] for channel in range(3)])


def best_cells(outputs: Sequence[np.ndarray], hm: int, count: int) -> np.ndarray:
    """The cells that decide the ``count`` best peaks of an image, float32 [n, 3 + channels of the others].

    A row has class, cell (row * w + column), hm, and the other outputs ([channels, h, w] each) there. Any
    cell that is higher than one of these is one of these, so nothing that decides is lost.
    """
    heat = outputs[hm].astype(np.float32)
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), mode='constant', constant_values=-np.inf)
    rows, columns = heat.shape[1:]
    highest = np.max([padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0)
    peaks = np.sort(heat[heat == highest])
    classes, cells = np.nonzero(heat.reshape(len(heat), -1) >= peaks[max(0, len(peaks) - count)])
    others = [output for number, output in enumerate(outputs) if number != hm]
    values = [heat.reshape(len(heat), -1)[classes, cells]]
    values += [plane.ravel()[cells] for output in others for plane in output.astype(np.float32)]
    return np.stack([classes.astype(np.float32), cells.astype(np.float32), *values], axis=1)


def number_of_hm(arrays: Sequence[np.ndarray], names: Sequence[str], channels: int) -> Optional[int]:
    """Which output is the heat map: by its name, else the one with a channel for each class; None if several
    have (two classes, without names)."""
    if 'hm' in names:
        return names.index('hm')
    found = [number for number, array in enumerate(arrays) if array.shape[1] == channels]
    if not found:
        raise Problem('no output has {} channels, one per class'.format(channels))
    return found[0] if len(found) == 1 else None


def save(path: str, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    with open(path + '.part', 'wb') as file:
        np.save(file, array, allow_pickle=False)
    os.replace(path + '.part', path)


def open_network(path: str, device: int) -> Any:
    """Ascend or TensorRT, by the name of the file. Raises Problem if its packages are missing."""
    if not os.path.isfile(path):
        raise Problem('no such file: {}'.format(path))
    try:
        return (Ascend if path.endswith('.om') else TensorRT)(path, device)
    except ImportError as error:
        raise Problem('{} needs a package that is not on this machine: {}'.format(path, error)) from None


def run(model: str, manifest: str, images: str, output: str, device: int = 0, peaks: int = 100) -> None:
    """Run a network on the images of a manifest.

    Args:
        model: an .om, or an engine of TensorRT.
        manifest: path of manifest.json.
        images: folder of the images.
        output: folder for the outputs.
        device: number of the device.
        peaks: how many are kept of an image.

    Raises:
        Problem: something is missing or fails.
    """
    try:
        with open(manifest, 'rb') as file:
            content = file.read()
        document = json.loads(content.decode('utf-8'))
        protocol = document['record']['protocol']
        entries = [(entry['images'], entry['file']) for entry in document['files']]
        whole, channels = set(document['reference']['images']), document['record']['network']['heads']['hm']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem('cannot read {}: {}'.format(manifest, error)) from None
    if any(len(some) > 1 for some, _ in entries):
        raise Problem('{} has several images in a file: dump with --batch 1'.format(manifest))
    entries = [(some[0], os.path.splitext(os.path.basename(name))[0]) for some, name in entries]
    network = open_network(model, device)
    os.makedirs(output, exist_ok=True)
    differing, seconds, hm = [], 0.0, 0
    for start in range(0, len(entries), network.batch):
        chosen = entries[start : start + network.batch]
        batch = [read_input(os.path.join(images, image['file_name']), image, protocol) for image, _ in chosen]
        for (image, _), planes in zip(chosen, batch):
            differing += [image['id']] if zlib.crc32(planes) != image['crc32'] else []
        batch += batch[-1:] * (network.batch - len(batch))
        begin = time.perf_counter()
        arrays = network(np.ascontiguousarray(np.stack(batch), np.float32))
        seconds += time.perf_counter() - begin
        if not start:
            hm = number_of_hm(arrays, network.names, channels)
            digest = hashlib.sha256(content).hexdigest()
            about = dict(manifest_sha256=digest, outputs=network.names, hm=hm, peaks=peaks)
            with open(os.path.join(output, 'run.json'), 'w') as file:
                json.dump(about, file)
        for place, (image, stem) in enumerate(chosen):
            outputs = [array[place] for array in arrays]
            path = os.path.join(output, stem)
            finite = all(np.isfinite(array).all() for array in outputs)
            if hm is None or image['id'] in whole or not finite:
                for number, array in enumerate(outputs):
                    save('{}_{}.npy'.format(path, number), array[np.newaxis])
            else:
                save(path + '.cells.npy', best_cells(outputs, hm, peaks))
        print('\r{} of {} images'.format(start + len(chosen), len(entries)), end='', file=sys.stderr)
    each = 1000 * seconds / len(entries)
    print('\n{:.2f} ms per image on the device, copies included'.format(each), file=sys.stderr)
    if differing:
        text = (
            'warning: {} inputs are not those of the manifest, such as that of image {}: OpenCV {} reads or'
            ' warps otherwise; 4.x is needed'
        )
        print(text.format(len(differing), differing[0], cv2.__version__), file=sys.stderr)


def main(words: Optional[Sequence[str]] = None) -> int:
    """The command line; returns the exit status."""
    defaults = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0], formatter_class=defaults)
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'manifest.json')
    parser.add_argument('model', help='an .om, or an engine of TensorRT')
    parser.add_argument('--manifest', default=beside, help='that of the inputs')
    parser.add_argument('--images', required=True, help='folder of the images')
    parser.add_argument('--output', default='outputs', help='folder for the outputs')
    parser.add_argument('--device', type=int, default=0, help='number of the device')
    parser.add_argument('--peaks', type=int, default=100, help='how many are kept of an image')
    try:
        run(**vars(parser.parse_args(words)))
    except Problem as problem:
        print('error: {}'.format(problem), file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
