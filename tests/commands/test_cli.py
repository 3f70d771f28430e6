"""The command line itself: help, names and defaults of the options, the environment."""

import os
import subprocess
import sys

import pytest

from centernet import cli
from centernet.commands import setup

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src')


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['nonsense'],
        ['eval-pth', '--no-such-flag'],
        ['eval-pth', '--ids', 'one,two'],
        ['eval-pth', '--ids', '@/nowhere/ids'],
        ['eval-pth', '--ids', ','],
        ['eval-pth', '--test-scales', 'big'],
        ['eval-pth', '--on-bad-image', 'ignore'],
    ],
    ids=str,
)
def test_words_that_are_no_command(capsys, words):
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert 'error: ' in err and err.count('\n') == 1


@pytest.mark.parametrize('command', cli.COMMANDS)
def test_help_is_quick_and_whole(command):
    # torch takes seconds to import; help must not wait for it
    code = (
        f'import sys; from centernet import cli; status = cli.main([{command!r}, "--help"]); '
        'sys.exit(status or "torch" in sys.modules or "cv2" in sys.modules)'
    )
    run = subprocess.run(
        [sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=SOURCE), stdout=subprocess.PIPE
    )
    assert run.returncode == 0
    assert run.stdout.startswith(f'usage: centernet {command} '.encode())
    assert (b'--output' in run.stdout) == (command != 'fetch')  # which has a folder for each kind of file
    assert b'exit status: 0' in run.stdout and b'(default: ' in run.stdout


def test_flags_have_one_meaning_in_every_command():
    meanings = {}
    for sub in next(iter(cli.build_parser()._subparsers._group_actions)).choices.values():
        for action in sub._actions:
            for flag in action.option_strings:
                meanings.setdefault(flag, set()).add((action.type, action.nargs))
    # export and reproduce write several targets at once, modify one; eval-pth
    # compares checkpoints
    assert {flag for flag, found in meanings.items() if len(found) > 1} <= {'--target', '--weights'}


def test_the_output_folder_is_called_after_the_command():
    for name, sub in next(iter(cli.build_parser()._subparsers._group_actions)).choices.items():
        if name not in ('fetch', 'modify', 'doctor'):  # several folders; beside the model; nothing
            assert sub.get_default('output') == f'output/{name}'


def test_the_environment_gives_defaults(monkeypatch):
    monkeypatch.setenv('WEIGHTS', 'models/a.pth')
    monkeypatch.setenv('DATA', 'data/b')
    monkeypatch.setenv('DEVICE', 'cpu')
    found = cli.build_parser().parse_args(['eval-pth'])
    assert (found.weights, found.data, found.device) == ('models/a.pth', 'data/b', 'cpu')
    found = cli.build_parser().parse_args(['eval-pth', '--weights', 'c.pth'])
    assert (found.weights, found.data) == (['c.pth'], 'data/b')
    assert cli.build_parser().parse_args(['modify', 'm.onnx']).weights is None  # made of any checkpoint


def test_in_the_container_a_missing_path_is_explained(monkeypatch, refused, tmp_path):
    monkeypatch.setattr(setup, 'IN_CONTAINER', True)
    assert 'MODELS_DIR' in refused(weights=tmp_path / 'nowhere.pth')
    assert 'OUTPUT_DIR' in refused(output='/proc/out')


def test_every_option_is_known_by_its_name():
    meanings = {
        flag
        for sub in next(iter(cli.build_parser()._subparsers._group_actions)).choices.values()
        for action in sub._actions
        for flag in action.option_strings
    }
    assert {
        '--arch',
        '--weights',
        '--data',
        '--device',
        '--batch-size',
        '--workers',
        '--limit',
        '--output',
    } <= meanings
