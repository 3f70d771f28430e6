"""Every command in README, CONTRIBUTING and docs is run, or, where it only makes sense elsewhere, checked.

Commands are the lines of ``sh`` blocks. ``centernet`` and ``make`` commands run for real in a folder that has
small checkpoints under the published names and a small data set; commands about Docker run in
tests/container.
"""

import argparse
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from support.painted import write_data
from support.random_weights import save_checkpoint

from centernet import cli
from centernet.exporting.exporter import export
from centernet.networks.checkpoint import load_model

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'benchmarks/README.md'] + sorted(
    os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, 'docs', '*.md'))
)
pytestmark = pytest.mark.skipif(
    not os.path.exists(os.path.join(ROOT, '.ci')), reason='not a whole checkout: the image omits files'
)
HEADS = {'hm': 2, 'wh': 2, 'reg': 2}
#: targets of make that are lanes of CI, or that install and download things: looked up, not run
NOT_RUN = ('test', 'lint', 'format', 'fuzz', 'venv', 'lock', 'clean', 'fetch', 'reproduce')
NOT_RUN += ('eval-outputs',)  # needs outputs of a device; tests/devices


def commands(path):
    """The command lines of a Markdown file's ``sh`` blocks, without comments, continued lines joined."""
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        text = file.read()
    for block in re.findall(r'^```sh\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


ALL = [(path, words) for path in FILES for words in commands(path)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Checkpoints, data and an exported file where the commands expect them."""
    folder = tmp_path_factory.mktemp('checkout')
    for name, arch in (('ctdet_coco_dla_2x', 'dla_tiny'), ('ctdet_coco_resdcn18', 'resdcn_18')):
        (folder / 'models').mkdir(exist_ok=True)
        save_checkpoint(folder / 'models' / (name + '.pth'), arch, HEADS, 64)
    write_data(folder / 'data' / 'coco', count=2)
    shutil.copytree(str(folder / 'data' / 'coco' / 'val2017'), str(folder / 'photos'))
    export(
        load_model(str(folder / 'models' / 'ctdet_coco_dla_2x.pth')),
        str(folder / 'models'),
        'ctdet_coco_dla_2x',
        size=(64, 64),
    )
    return folder


@pytest.fixture(scope='module')
def make(tmp_path_factory):
    """A function that runs a target of the Makefile with a program that records in place of the
    environment's."""
    recorder = tmp_path_factory.mktemp('bin') / 'record'
    recorder.write_text(
        f'#!{sys.executable}\nimport json, os, sys\n'
        'names = ("WEIGHTS", "DATA", "SOURCE", "DEVICE")\n'
        'print(json.dumps([sys.argv[1:], {name: os.environ.get(name, "") for name in names}]))\n'
    )
    recorder.chmod(0o755)

    def run(words):
        words = ['make', '-C', ROOT, '--no-print-directory'] + words[1:] + [f'IN_VENV=@exec {recorder} ']
        # the tests may be run by make, whose own settings it would take over
        names = ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES', 'ARGS', 'PYTHON')
        environment = {name: value for name, value in os.environ.items() if name not in names}
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, universal_newlines=True)
        assert done.returncode == 0, words
        return json.loads(done.stdout)

    return run


def known_targets():
    with open(os.path.join(ROOT, 'Makefile'), encoding='utf-8') as file:
        return re.findall(r'^([a-z-]+):.*## ', file.read(), re.MULTILINE)


def run_centernet(argv, folder, monkeypatch):
    """Run it in the folder, small and without a GPU; a test of the built-in sample alone would take long."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    if argv[0] in ('eval-pth', 'eval-onnx', 'verify', 'export') and '--limit' not in argv:
        argv = argv + ['--limit', '2']
    assert cli.main(argv) == 0, argv


@pytest.mark.parametrize('path, words', ALL, ids=[f'{path}:{" ".join(words)}' for path, words in ALL])
def test_the_command_works(path, words, folder, make, monkeypatch):
    variables = {}
    while words and re.match(r'[A-Z_]+=', words[0]):
        name, _, value = words[0].partition('=')
        variables[name], words = value, words[1:]
    if words[0] == 'make':
        targets = [word for word in words[1:] if '=' not in word]
        assert set(targets) <= set(known_targets())
        if not targets or targets[0] in NOT_RUN:
            return
        argv, environment = make(words)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        run_centernet(argv[1:] if argv[0] == 'centernet' else argv, folder, monkeypatch)
    elif words[0] == 'centernet':
        if words[1] in NOT_RUN:
            cli.build_parser().parse_args(words[1:])
        else:
            run_centernet(words[1:], folder, monkeypatch)
    elif words[:2] == ['docker', 'compose']:
        check_service(words)
    elif words[0] == 'python':
        assert os.path.exists(os.path.join(ROOT, words[1]))
    elif words[0] == '.ci/run' or words[0].startswith('deploy/'):
        assert os.access(os.path.join(ROOT, words[0]), os.X_OK)
    else:
        pytest.fail(f'{path}: no test knows how to run {" ".join(words)}')


def check_service(words):
    """The service exists, and the command of its name takes the options. tests/container runs the
    services."""
    with open(os.path.join(ROOT, 'docker-compose.yml'), encoding='utf-8') as file:
        services = re.findall(r'^  ([a-z-]+):$', file.read(), re.MULTILINE)
    if 'run' not in words:
        return
    rest = [word for word in words[words.index('run') + 1 :] if word != '--rm']
    if rest[0].startswith('--entrypoint'):
        return
    assert rest[0] in services
    rest[0] = re.sub('-dask$', '', rest[0])
    if rest[0] != 'test' and '--help' not in rest:
        cli.build_parser().parse_args(rest)


def test_python_examples_work(tmp_path, monkeypatch):
    """The examples of docs/python.md, one after the other; a print's comment is what it prints."""
    monkeypatch.chdir(tmp_path)
    with open(os.path.join(ROOT, 'docs', 'python.md'), encoding='utf-8') as file:
        code = '\n'.join(re.findall(r'^```python\n(.*?)^```', file.read(), re.MULTILINE | re.DOTALL))
    printed = []
    exec(code, {'print': lambda *words: printed.append(' '.join(map(str, words)))})
    expected = re.findall(r'\bprint\(.*\)  # (.*)', code)
    assert len(printed) == len(expected) > 8
    for line, pattern in zip(printed, expected):
        assert re.fullmatch('.*'.join(map(re.escape, pattern.split('...'))), line), line


def test_there_are_commands():
    assert len([words for path, words in ALL if path == 'README.md']) > 8


def test_cli_md_has_every_option():
    with open(os.path.join(ROOT, 'docs', 'cli.md'), encoding='utf-8') as file:
        text = file.read()
    parser = cli.build_parser()
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, sub in subparsers.choices.items():
        assert f'`{name}`' in text
        if name in ('fetch', 'reproduce'):  # docs/reproduce.md
            continue
        options = {word for action in sub._actions for word in action.option_strings if word.startswith('--')}
        missing = [
            word for word in sorted(options - {'--help'}) if not re.search(re.escape(word) + r'\b', text)
        ]
        assert not missing, (name, missing)
    known = {
        word
        for sub in subparsers.choices.values()
        for action in sub._actions
        for word in action.option_strings
    }
    named = set(re.findall(r'(?<![\w-])--[a-z][a-z-]+\b', text))  # not pth_eval.py's, which have underscores
    assert named - known <= {'--rm'}, named - known


def test_links_lead_somewhere():
    for path in FILES:
        with open(os.path.join(ROOT, path), encoding='utf-8') as file:
            text = file.read()
        for link in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', text):
            assert os.path.exists(os.path.join(ROOT, os.path.dirname(path), link)), (path, link)
