"""The command on the page: typed again, it evaluates the same."""

import json
import os
import shlex

import pytest

from centernet.cli import main
from centernet.report import load_run
from centernet.sample import SAMPLE_WEIGHTS


def evaluate(words, folder):
    assert main([*words, '--no-progress', '--output', str(folder)]) == 0
    return json.loads((folder / 'metrics.json').read_text())


@pytest.mark.parametrize(
    'options',
    [
        ['--limit', '3'],
        ['--ids', '272,139', '--keep-res', '--flip-test', '--max-detections', '20'],
        ['--limit', '2', '--test-scales', '0.75,1', '--normalization', '0.5,0.5,0.5/0.3,0.3,0.3'],
        ['--limit', '2', '--nms', '--input-height', '160', '--input-width', '96'],
        ['--data', 'sample', '--weights', SAMPLE_WEIGHTS, '--categories=-,ring,circle,rectangle'],
    ],
)
def test_typed_again(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    if '--data' in options:  # a folder of the user's that is called like the one in a run
        assert main(['sample', '--limit', '3', '--output', 'sample']) == 0
    first = evaluate(['eval-pth', '--device', 'cpu', *options], tmp_path / 'first')
    words = shlex.split(load_run('first').record.command())
    assert words[0] == 'centernet'
    second = evaluate(words[1:], tmp_path / 'second')
    assert first['metrics'] == second['metrics']
    for key in ('protocol', 'selection'):
        assert first['record'][key] == second['record'][key]
    assert first['record']['data']['channels'] == second['record']['data']['channels']
    results = [(tmp_path / name / 'results.json').read_bytes() for name in ('first', 'second')]
    assert results[0] == results[1]


def test_an_exported_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['export', '--target', 'portable']) == 0
    model = os.path.join('output', 'export', 'dla_tiny_portable.onnx')
    first = evaluate(['eval-onnx', model, '--limit', '2', '--device', 'cpu'], tmp_path / 'first')
    words = shlex.split(load_run('first').record.command())
    assert evaluate(words[1:], tmp_path / 'second')['metrics'] == first['metrics']
