"""--shard and merge on the command line."""

import json
import os
import shlex
import sys

import pytest
import torch

from centernet.cli import main
from centernet.sample import SAMPLE_WEIGHTS

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
    command = ['eval-pth', '--weights', SAMPLE_WEIGHTS, '--data', 'set', '--device', 'cpu', '--no-progress']
    assert main(command + ['--output', 'run']) == 0
    journal = folder / 'run' / 'journal.jsonl'
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b''.join(lines[:-4] + lines[-2:]))  # without two images; the last lines list files
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
        (['--shard', 'auto'], 'set JOB_COMPLETION_INDEX'),
        (['--shard', '3/2'], "'3/2' is not a shard"),
        (['--shard', '8/8'], '--shard 8/8: there are only 7 images'),
    ],
)
def test_no_shard(capsys, words, message):
    assert main(EVAL + words) == 2
    assert message in capsys.readouterr().err


def test_detect_takes_every_nth_file(folder):
    assert main(['sample', '--limit', '5', '--output', 'set']) == 0
    names = []
    for index in (1, 2):
        words = [
            'detect',
            'set/val2017',
            '--weights',
            SAMPLE_WEIGHTS,
            '--shard',
            f'{index}/2',
            '--save',
            'none',
        ]
        assert main(words + ['--device', 'cpu', '--no-progress', '--output', 'found']) == 0
        with open(f'found/shard-{index}-of-2/detections.json', encoding='utf-8') as file:
            names.append([image['file_name'] for image in json.load(file)['images']])
    everything = sorted(os.listdir('set/val2017'))
    assert names == [everything[0::2], everything[1::2]]


def test_nothing_to_merge(capsys):
    assert main(['merge']) == 2
    assert 'no such folder: output/eval-pth' in capsys.readouterr().err


def checkpoints(folder):
    """Two checkpoints of one name, with different weights."""
    paths = []
    for number, name in enumerate(('first', 'second')):
        (folder / name).mkdir()
        content = torch.load(SAMPLE_WEIGHTS, map_location='cpu')
        bias = content['state_dict']['wh.2.bias']
        content['state_dict']['wh.2.bias'] = bias.float() + number  # boxes that are too large
        paths.append(os.path.join(name, 'best.pth'))
        torch.save(content, paths[-1])
    return paths


def test_several_checkpoints_give_one_table(folder, capsys):
    command = [*EVAL, '--weights', *checkpoints(folder)]
    assert main(command) == 0
    table = capsys.readouterr().out.strip().splitlines()[-3:]
    assert table[0].split() == ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR100', 'images', 'img/s']
    documents = {}
    for line, name in zip(table[1:], ('first-best', 'second-best')):
        document = json.loads((folder / 'output' / 'eval-pth' / name / 'metrics.json').read_text())
        assert line.split()[:3] == [name] + [
            '{:.3f}'.format(document['metrics'][key]) for key in ('AP', 'AP50')
        ]
        documents[name] = document
    assert documents['first-best']['metrics'] != documents['second-best']['metrics']
    for index in (1, 2):
        assert main([*command, '--shard', f'{index}/2', '--output', 'divided']) == 0
    capsys.readouterr()
    assert main(['merge', 'divided', '--json']) == 0
    out, err = capsys.readouterr()
    for name, document in json.loads(out)['runs'].items():
        assert document['metrics'] == documents[name]['metrics']
        results = [
            (folder / root / name / 'results.json').read_bytes()
            for root in ('output/eval-pth', 'output/merge')
        ]
        assert results[0] == results[1]
    assert err.strip().splitlines()[-2].split()[0] == 'first-best'


def test_a_checkpoint_of_several_that_is_missing_or_named_twice(folder, capsys):
    first, _ = checkpoints(folder)
    assert main([*EVAL, '--weights', first, 'nowhere.pth']) == 2
    assert 'error: no such checkpoint: nowhere.pth' in capsys.readouterr().err
    assert main([*EVAL, '--weights', first, first]) == 2
    assert 'a checkpoint is named twice' in capsys.readouterr().err
    assert not (folder / 'output').exists()


def test_what_dask_lacks_is_one_line(capsys):
    assert main([*EVAL, '--dask', 'tls://127.0.0.1:1', '--certificates', 'nowhere']) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    if sys.version_info < (3, 9):
        assert '--dask needs the modern stack' in error
    else:
        assert 'no certificate nowhere/ca.pem' in error or '--dask needs distributed' in error
