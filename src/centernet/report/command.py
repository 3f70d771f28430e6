"""The command that repeats a run."""

import os
import shlex
from typing import Any, Dict, List

from ..files import sha256
from ..sample import SAMPLE_WEIGHTS
from .run import Run


def repeat_command(run: Run) -> str:
    """Return a shell command that repeats a run, from what metrics.json records."""
    document = run.document
    network, protocol = document['network'], document['protocol']
    if network['runner'] == 'outputs':  # of a device: the input is what was dumped
        return ' '.join(
            map(shlex.quote, ['centernet', 'eval-outputs', network['folder'], *_ranking(protocol)])
        )
    is_onnx = 'model' in network
    path = network['model'] if is_onnx else network['weights']
    data = [] if _is_sample(run) else _data(run)
    words = ['centernet', 'eval-onnx', path] if is_onnx else ['centernet', 'eval-pth']
    if not is_onnx and (data or network.get('weights_sha256') != sha256(SAMPLE_WEIGHTS)):
        words += ['--weights', path, '--arch', network['arch']]
    words += data + _images(run) + _protocol(protocol)
    if network.get('precision', 'fp32') != 'fp32':
        words += ['--precision', network['precision']]
    words += ['--device', network['device']]
    return ' '.join(shlex.quote(str(word)) for word in words)


def _is_sample(run: Run) -> bool:
    """Whether the data are the built-in sample, which is written into the folder of a run."""
    sample = os.path.join(os.path.abspath(run.folder), 'sample', '')
    return os.path.abspath(run.data.annotations).startswith(sample)


def _data(run: Run) -> List[str]:
    recorded = run.document['data']
    categories = ['-' if item is None else str(item['id']) for item in recorded['categories']]
    words = ['--annotations', recorded['annotations'], '--images', recorded['images']]
    in_order = categories == [str(number) for number, _ in run.data.categories]
    return words if in_order else words + ['--categories=' + ','.join(categories)]


def _images(run: Run) -> List[str]:
    selected = run.document['data']['image_ids']
    failed = run.document.get('failed_images') or {}
    if selected is None:
        return []
    if selected == list(run.data.image_ids[: len(selected)]):
        return ['--limit', str(len(selected))]
    if failed and len(selected) + len(failed) == len(run.data.image_ids):
        return []
    return ['--ids', ','.join(map(str, selected))]


def _protocol(protocol: Dict[str, Any]) -> List[str]:
    if protocol['keep_res']:
        words = ['--keep-res']
    else:
        words = ['--input-height', str(protocol['height']), '--input-width', str(protocol['width'])]
    if protocol['flip_test']:
        words.append('--flip-test')
    scales = protocol['test_scales']
    if scales != [1.0]:
        words += ['--test-scales', ','.join(f'{scale:g}' for scale in scales)]
    used = protocol['normalization']
    name = used['name'] or '/'.join(','.join(f'{x:g}' for x in used[key]) for key in ('mean', 'std'))
    return words + _ranking(protocol) + ['--normalization', name]


def _ranking(protocol: Dict[str, Any]) -> List[str]:
    words = ['--nms'] if protocol['nms'] and protocol['test_scales'] == [1.0] else []
    if protocol['max_per_image'] != 100:
        words += ['--max-detections', str(protocol['max_per_image'])]
    return words
