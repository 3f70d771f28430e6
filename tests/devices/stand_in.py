"""A stand-in for a device: runs an ONNX file on dumped inputs, and writes what each tool would write.

Written from the formats of the tools alone (ais_bench, benchmark, msame, trtexec, Polygraphy); it imports
nothing of centernet, so that a format that its readers misunderstand shows.
"""

import base64
import io
import json
import os

import numpy as np
import onnxruntime

HEADS = ('hm', 'wh', 'reg')


class Device:
    """A compiled network.

    Args:
        model: an ONNX file with the input "image" of float32, and an open batch.
        batch: that the device was compiled for.
        dtype: of its outputs.
        outputs: their order.
        change: outputs (name -> array) of a batch and the number of the batch -> outputs.
        feed: changes a batch of inputs.
    """

    def __init__(self, model, batch=1, dtype='float32', outputs=HEADS, change=None, feed=None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
        self.batch, self.dtype, self.outputs = batch, dtype, outputs
        self.change, self.feed = change, feed
        self.batches = 0
        self.size = list(self.session.get_inputs()[0].shape[2:])

    def run(self, images):
        """Arrays in the order of the outputs; images: [batch, 3, H, W]."""
        assert len(images) == self.batch
        images = np.ascontiguousarray(images, np.float32)
        if self.feed:
            images = self.feed(images)
        found = dict(
            zip(HEADS, self.session.run(list(HEADS), {'image': np.ascontiguousarray(images, np.float32)}))
        )
        if self.change:
            found = self.change(found, self.batches)
        self.batches += 1
        return [found[name].astype(self.dtype) for name in self.outputs]

    def read(self, path, images=1, dtype='float32'):
        return np.fromfile(path, dtype).reshape([images, 3] + self.size)


def _natural(names):
    return sorted(names)  # 12 digits


def ais_bench(device, inputs, output, dirname='run', outfmt='BIN', summary=True, dtype='float32'):
    """python -m ais_bench --model M.om --input inputs --output output --output_dirname run."""
    folder = os.path.join(output, dirname)
    os.makedirs(folder)
    names = _natural(os.listdir(inputs))
    filesinfo, number = {}, 0
    for start in range(0, len(names), device.batch):
        chosen = names[start : start + device.batch]
        padded = chosen + chosen[-1:] * (device.batch - len(chosen))
        images = np.concatenate([device.read(os.path.join(inputs, name), dtype=dtype) for name in padded])
        outputs = device.run(images)
        for place, name in enumerate(chosen):
            entry = {'infiles': ['/device/data/' + name], 'outfiles': []}
            for index, array in enumerate(outputs):
                base = '{}_{}.{}'.format(name.split('.')[0], index, outfmt.lower())
                path = os.path.join(folder, base)
                if outfmt == 'NPY':
                    np.save(path, array[place : place + 1])
                elif outfmt == 'TXT':
                    np.savetxt(path, array[place].reshape(-1, array.shape[-1]), '%f')
                else:
                    array[place : place + 1].tofile(path)
                entry['outfiles'].append('/device/result/{}/{}'.format(dirname, base))
            filesinfo[str(number)] = entry
            number += 1
    if summary:
        content = {'filesinfo': filesinfo, 'NPU_compute_time': {'mean': 1.0}, 'throughput': 1000.0}
        with open(os.path.join(output, dirname + '_summary.json'), 'w') as file:
            json.dump(content, file)
    return output


def benchmark(device, folder, output):
    """benchmark.x86_64 -input_text_path=bin_file.info; outputs are numbered from 1."""
    target = os.path.join(output, 'dumpOutput_device0')
    os.makedirs(target)
    with open(os.path.join(folder, 'bin_file.info')) as file:
        lines = [line.split() for line in file.read().splitlines()]
    for start in range(0, len(lines), device.batch):
        chosen = lines[start : start + device.batch]
        padded = chosen + chosen[-1:] * (device.batch - len(chosen))
        for line in chosen:
            assert [int(side) for side in line[2:]] == device.size[::-1]
        images = np.concatenate([device.read(os.path.join(folder, line[1])) for line in padded])
        for index, array in enumerate(device.run(images), start=1):
            for place, line in enumerate(chosen):
                stem = os.path.splitext(os.path.basename(line[1]))[0]
                array[place].tofile(os.path.join(target, '{}_{}.bin'.format(stem, index)))
    return output


def msame(device, inputs, output):
    """msame --model M.om --input inputs --output output --outfmt BIN; batch 1."""
    target = os.path.join(output, '20261126_202457')
    os.makedirs(target)
    for name in _natural(os.listdir(inputs)):
        for index, array in enumerate(device.run(device.read(os.path.join(inputs, name)))):
            array.tofile(os.path.join(target, '{}_output_{}.bin'.format(os.path.splitext(name)[0], index)))
    return output


_TYPES = {'float32': 'fp32', 'float16': 'fp16'}


def trtexec(device, inputs, output, raw=True):
    """trtexec, once per file: --dumpRawBindingsToFile in a folder of its own, or --exportOutput."""
    for name in _natural(os.listdir(inputs)):
        stem = name.split('.')[0]
        arrays = device.run(device.read(os.path.join(inputs, name), device.batch))
        if raw:
            target = os.path.join(output, stem)
            os.makedirs(target)
            for head, array in zip(device.outputs, arrays):
                dims = '.'.join(str(side) for side in array.shape)
                array.tofile(
                    os.path.join(target, '{}.output.{}.{}.raw'.format(head, dims, _TYPES[device.dtype]))
                )
        else:
            os.makedirs(output, exist_ok=True)
            entries = [
                {
                    'name': head,
                    'dimensions': 'x'.join(str(side) for side in array.shape),
                    'values': [float('{:.6g}'.format(value)) for value in array.ravel().tolist()],
                }
                for head, array in zip(device.outputs, arrays)
            ]
            with open(os.path.join(output, stem + '.json'), 'w') as file:
                json.dump(entries, file)
    return output


def _array(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return {'array': base64.b64encode(buffer.getvalue()).decode(), 'polygraphy_class': 'ndarray'}


def polygraphy(device, inputs, output):
    """polygraphy run M --trt --load-inputs inputs/*.json --save-outputs outputs.json."""
    results = []
    for name in _natural(os.listdir(inputs)):
        with open(os.path.join(inputs, name)) as file:
            feeds = json.load(file)
        for feed in feeds:
            assert feed['image']['polygraphy_class'] == 'ndarray'
            images = np.load(io.BytesIO(base64.b64decode(feed['image']['array'])))
            outputs = {
                head: {'values': _array(array), 'polygraphy_class': 'LazyArray'}
                for head, array in zip(device.outputs, device.run(images))
            }
            results.append(
                {
                    'outputs': outputs,
                    'runtime': 0.001,
                    'runner_name': 'trt-runner-N0',
                    'polygraphy_class': 'IterationResult',
                }
            )
    os.makedirs(output)
    with open(os.path.join(output, 'outputs.json'), 'w') as file:
        json.dump({'lst': [['trt-runner-N0', results]], 'polygraphy_class': 'RunResults'}, file)
    return output
