"""Commands on a GPU: the sample's figures, in every precision."""

import json

import pytest
import torch

from centernet.cli import main
from centernet.system import compat

if not torch.cuda.is_available():
    pytest.skip('there is no GPU', allow_module_level=True)

#: of the sample on a CPU
AP = 0.7134
TOLERANCE = {'fp32': 1e-3, 'tf32': 5e-3, 'fp16': 5e-3}


@pytest.mark.parametrize('precision', sorted(TOLERANCE))
def test_eval_pth(tmp_path, precision):
    if precision == 'tf32' and (torch.cuda.get_device_capability() < (8, 0) or not compat.HAS_TF32):
        pytest.skip('this GPU or torch has no TF32')
    words = ['eval-pth', '--device', 'cuda', '--precision', precision, '--no-progress']
    assert main([*words, '--output', str(tmp_path)]) == 0
    document = json.loads((tmp_path / 'metrics.json').read_text())
    record = document['record']
    assert record['environment']['device_type'] == 'cuda' and record['network']['precision'] == precision
    assert abs(document['metrics']['AP'] - AP) <= TOLERANCE[precision]


def test_the_flip_test_and_scales(tmp_path):
    """Strong detections are those of the CPU, but for a few at the edge: soft-NMS and the hundred best of an
    image depend on the order of scores that are almost equal."""
    boxes = {}
    for device in ('cpu', 'cuda'):
        words = [
            'eval-pth',
            '--device',
            device,
            '--limit',
            '40',
            '--flip-test',
            '--keep-res',
            '--no-progress',
        ]
        words += ['--test-scales', '0.75,1,1.25', '--output', str(tmp_path / device)]
        assert main(words) == 0
        results = json.loads((tmp_path / device / 'results.json').read_text())
        boxes[device] = {
            (item['image_id'], item['category_id'], *(round(value) for value in item['bbox']))
            for item in results
            if item['score'] >= 0.3
        }
    assert len(boxes['cpu']) > 80
    assert len(boxes['cpu'] ^ boxes['cuda']) <= 0.05 * len(boxes['cpu'])


def test_verify(tmp_path, monkeypatch):
    """The checkpoint on the GPU against the exported file in ONNX Runtime."""
    monkeypatch.chdir(tmp_path)
    assert main(['export', '--target', 'portable']) == 0
    words = ['verify', 'output/export/dla_tiny_portable.onnx', '--limit', '40', '--no-progress']
    assert main([*words, '--device', 'auto']) == 0


def test_detect(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['sample', '--limit', '6', '--output', 'data']) == 0
    words = ['detect', 'data/val2017', '--device', 'cuda', '--save', 'none', '--no-progress']
    assert main([*words, '--output', 'gpu']) == 0
    assert main([*words[:2], '--device', 'cpu', *words[4:], '--output', 'cpu']) == 0
    counts = []
    for name in ('gpu', 'cpu'):
        counts.append(len(json.loads((tmp_path / name / 'detections.json').read_text())['annotations']))
    assert counts[0] == counts[1] > 0
