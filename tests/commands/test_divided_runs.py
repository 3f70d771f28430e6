"""--shard and merge on the command line."""

import json
import os
import shlex

import pytest

from centernet.cli import main

EVAL = ['eval-pth', '--limit', '7', '--device', 'cpu', '--no-progress']


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(('SLURM_', 'CI_NODE')) or name in ('SHARDS', 'JOB_COMPLETION_INDEX'):
            monkeypatch.delenv(name)
    return tmp_path


def test_shards_are_merged(folder, capsys):
    assert main(EVAL + ['--output', 'whole']) == 0
    for index in (1, 2, 3):
        assert main(EVAL + ['--shard', f'{index}/3', '--resume']) == 0
    assert sorted(os.listdir('output/eval-pth')) == [f'shard-{index}-of-3' for index in (1, 2, 3)]
    capsys.readouterr()
    assert main(['merge', '--report', '--json']) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)['images'] == 7
    assert '3 shards, 7 images' in err and 'output/merge/report.html' in err
    results = [(folder / name / 'results.json').read_bytes() for name in ('whole', 'output/merge')]
    assert results[0] == results[1]


def test_the_printed_command_makes_up_for_missing_images(folder, capsys):
    assert main(EVAL + ['--shard', '1/2', '--keep-res', '--output', 'out dir']) == 0
    assert main(['merge', 'out dir']) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('centernet: error: 3 of 7 images are missing (shard 2/2: ')
    words = shlex.split(error.split('merge again: ')[1])
    assert words[:2] == ['centernet', 'eval-pth']
    assert main(words[1:]) == 0
    assert main(['merge', 'out dir']) == 0
    assert main(EVAL + ['--keep-res', '--output', 'whole']) == 0
    results = [(folder / name / 'results.json').read_bytes() for name in ('whole', 'output/merge')]
    assert results[0] == results[1]


def test_a_run_that_is_not_divided_lacks_images(folder, capsys):
    main(['sample', '--limit', '5', '--output', 'set'])
    weights = os.path.join(os.path.dirname(main.__code__.co_filename), 'sample', 'dla_tiny.pth')
    command = ['eval-pth', '--weights', weights, '--data', 'set', '--device', 'cpu', '--no-progress']
    assert main(command + ['--output', 'run']) == 0
    journal = folder / 'run' / 'journal.jsonl'
    journal.write_bytes(b''.join(journal.read_bytes().splitlines(keepends=True)[:-2]))
    assert main(['merge', 'run']) == 2
    words = shlex.split(capsys.readouterr().err.split('merge again: ')[1])
    assert main(words[1:]) == 0
    assert main(['merge', 'run']) == 0
    results = [(folder / name / 'results.json').read_bytes() for name in ('run', 'output/merge')]
    assert results[0] == results[1]


def test_the_shard_of_an_engine(monkeypatch, capsys):
    monkeypatch.setenv('JOB_COMPLETION_INDEX', '1')
    monkeypatch.setenv('SHARDS', '3')
    assert main(EVAL + ['--shard', 'auto']) == 0
    assert 'centernet: shard 2/3 (JOB_COMPLETION_INDEX=1, SHARDS=3)' in capsys.readouterr().err
    assert os.listdir('output/eval-pth') == ['shard-2-of-3']


@pytest.mark.parametrize(
    'words, message',
    [
        (['--shard', 'auto'], 'none of JOB_COMPLETION_INDEX'),
        (['--shard', '3/2'], "'3/2' is not a shard"),
        (['--shard', '8/8'], '--shard 8/8: there are only 7 images'),
    ],
)
def test_no_shard(capsys, words, message):
    assert main(EVAL + words) == 2
    assert message in capsys.readouterr().err


def test_detect_takes_every_nth_file(folder):
    assert main(['sample', '--limit', '5', '--output', 'set']) == 0
    weights = os.path.join(os.path.dirname(main.__code__.co_filename), 'sample', 'dla_tiny.pth')
    names = []
    for index in (1, 2):
        words = ['detect', 'set/val2017', '--weights', weights, '--shard', f'{index}/2', '--save', 'none']
        assert main(words + ['--device', 'cpu', '--no-progress', '--output', 'found']) == 0
        with open(f'found/shard-{index}-of-2/detections.json', encoding='utf-8') as file:
            names.append([image['file_name'] for image in json.load(file)['images']])
    everything = sorted(os.listdir('set/val2017'))
    assert names == [everything[0::2], everything[1::2]]


def test_nothing_to_merge(capsys):
    assert main(['merge']) == 2
    assert 'no such folder: output/eval-pth' in capsys.readouterr().err
