"""What made a run, for people."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ..detection.normalization import Normalization
from .run import Run


class Setting(NamedTuple):
    """A row of the table of settings: its name, and a value for each run, None where a run has none."""

    name: str
    values: List[Optional[str]]

    @property
    def differs(self) -> bool:
        """Whether the runs have different values."""
        return len(set(self.values)) > 1


def settings(runs: Sequence[Run]) -> List[Setting]:
    """Return the settings of runs."""
    columns = [dict(_settings(run)) for run in runs]
    names = [name for column in columns for name in column]
    return [Setting(name, [column.get(name) for column in columns]) for name in dict.fromkeys(names)]


def network_name(run: Run) -> str:
    """The network and its file, such as ``dla_34 (ctdet_coco_dla_2x.pth)``."""
    network = run.document['network']
    path = network.get('model') or network.get('weights') or ''
    arch = network.get('arch') or (network.get('metadata') or {}).get('arch')
    name = os.path.basename(path)
    return f'{arch} ({name})' if arch else name


def _settings(run: Run):
    document = run.document
    network, protocol, data = document['network'], document['protocol'], document['data']
    yield 'network', network_name(run)
    yield 'file', network.get('model') or network.get('weights')
    checkpoint = network.get('weights_sha256') or (network.get('metadata') or {}).get('weights_sha256')
    yield 'SHA-256 of the file', network.get('model_sha256') or checkpoint
    yield 'SHA-256 of the checkpoint', checkpoint
    yield 'runner', _runner(network)
    devices = document['timings'].get('per_device')
    if devices:  # of merged shards
        yield 'device', '; '.join(f'{name}: {part["images"]} images' for name, part in devices.items())
    else:
        device = network.get('device_name')
        yield 'device', network['device'] + (f' ({device})' if device else '')
    yield 'precision', network.get('precision', 'fp32')
    if network.get('threads'):
        yield 'threads', str(network['threads'])
    yield 'batch size', str(document['batch_size'])
    yield (
        'input',
        'original size' if protocol['keep_res'] else '{width} x {height}'.format(**protocol),
    )
    used = protocol['normalization']
    yield 'normalization', str(Normalization(tuple(used['mean']), tuple(used['std'])))
    yield 'flip test', _yes(protocol['flip_test'])
    yield 'test scales', ', '.join(f'{scale:g}' for scale in protocol['test_scales'])
    yield 'soft-NMS', _yes(protocol['nms'])
    yield 'detections per image', 'up to {}'.format(protocol['max_per_image'])
    yield 'annotations', data['annotations']
    yield 'images', str(document['images'])
    if document.get('failed_images'):
        yield 'images that could not be read', str(len(document['failed_images']))
    for name, version in document['versions'].items():
        if version:
            yield _VERSIONS.get(name, name), str(version)


#: names of libraries as their projects write them
_VERSIONS = {
    'centernet': 'this project',
    'git': 'revision',
    'python': 'Python',
    'torch': 'PyTorch',
    'numpy': 'NumPy',
    'opencv': 'OpenCV',
}


def _runner(network: Dict[str, Any]) -> str:
    if network['runner'] == 'onnxruntime':
        return 'ONNX Runtime {}, {}'.format(network['onnxruntime'], network['provider'])
    if network['runner'] == 'torch':
        return 'PyTorch {}'.format(network['torch'])
    return 'outputs in {}'.format(network['folder']) if network['runner'] == 'outputs' else network['runner']


def _yes(value: Any) -> str:
    return 'yes' if value else 'no'
