"""The command that repeats a run."""

import os
import shlex
from typing import Any, Dict, List, Optional, Sequence

from ..coco import CocoData
from ..files import sha256
from ..sample import SAMPLE_WEIGHTS
from .run import Run


def repeat_command(run: Run) -> str:
    """Return a shell command that repeats a run, from what metrics.json records."""
    return ' '.join(shlex.quote(word) for word in repeat_words(run))


def repeat_words(run: Run) -> List[str]:
    """Return the words of that command."""
    document = run.document
    recorded = document['data']
    categories = [None if item is None else item['id'] for item in recorded['categories']]
    data = [] if is_sample(run.folder, run.data.annotations) else data_words(run.data, recorded, categories)
    return evaluation_words(document['network'], document['protocol'], data, _images(run))


def evaluation_words(
    network: Dict[str, Any], protocol: Dict[str, Any], data: List[str], images: List[str]
) -> List[str]:
    """Return the words of the command that evaluates a network.

    Args:
        network, protocol: entries of metrics.json.
        data: the options that name the data set; none for the built-in sample.
        images: those that select images.
    """
    if network['runner'] == 'outputs':  # of a device: the input is what was dumped
        return ['centernet', 'eval-outputs', network['folder'], *_ranking(protocol)]
    is_onnx = 'model' in network
    path = network['model'] if is_onnx else network['weights']
    words = ['centernet', 'eval-onnx', path] if is_onnx else ['centernet', 'eval-pth']
    if not is_onnx and (data or network.get('weights_sha256') != sha256(SAMPLE_WEIGHTS)):
        words += ['--weights', path, '--arch', network['arch']]
    words += data + images + _protocol(protocol)
    if network.get('precision', 'fp32') != 'fp32':
        words += ['--precision', network['precision']]
    words += ['--device', network['device']]
    return list(map(str, words))


def is_sample(folder: str, annotations: str) -> bool:
    """Whether annotations are those of the built-in sample, which is written into the folder of a run."""
    return os.path.abspath(annotations).startswith(os.path.join(os.path.abspath(folder), 'sample', ''))


def data_words(data: CocoData, recorded: Dict[str, Any], categories: Sequence[Optional[int]]) -> List[str]:
    """Return the options that name a data set.

    Args:
        data: the data set.
        recorded: its paths: ``annotations``, ``images``.
        categories: their ids by channel.
    """
    words = ['--annotations', recorded['annotations'], '--images', recorded['images']]
    if list(categories) == [number for number, _ in data.categories]:
        return words
    listed = ['-' if number is None else str(number) for number in categories]
    return words + ['--categories=' + ','.join(listed)]


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
