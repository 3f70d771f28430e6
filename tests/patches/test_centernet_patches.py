"""patches/centernet, applied to files that contain the lines of the patches, with others between them."""

import argparse
import os
import re
import shutil
import subprocess
from typing import List, NamedTuple

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATCHES = os.path.join(ROOT, 'patches', 'centernet')
APPLY = os.path.join(PATCHES, 'apply.sh')

pytestmark = pytest.mark.skipif(shutil.which('patch') is None, reason="the program 'patch' is not installed")


class Hunk(NamedTuple):
    """One change; ``counts``: first line and number of lines, before and after."""

    name: str
    counts: List[int]
    before: List[str]
    after: List[str]


def series():
    with open(os.path.join(PATCHES, 'series')) as file:
        return file.read().split()


def hunks(patch):
    """Return the changes of a patch."""
    with open(os.path.join(PATCHES, patch)) as file:
        lines = file.read().split('\n')[:-1]
    found = []
    for line in lines:
        if line.startswith('+++ b/'):
            name = line[len('+++ b/') :]
        elif line.startswith('@@ '):
            counts = [
                int(number or 1) for number in re.match(r'@@ -(\d+),?(\d*) \+(\d+),?(\d*) @@', line).groups()
            ]
            found.append(Hunk(name, counts, [], []))
        elif found and not line.startswith('--- '):
            if line[:1] in '- ':
                found[-1].before.append(line[1:])
            if line[:1] in '+ ':
                found[-1].after.append(line[1:])
    for hunk in found:
        assert [len(hunk.before), len(hunk.after)] == hunk.counts[1::2], (patch, hunk.name)
    return found


def trees(patches):
    """Return {file: text} before and after these patches of the series."""
    changes = {}
    for patch in series():
        for hunk in hunks(patch):
            applied = hunk if patch in patches else hunk._replace(after=hunk.before)
            changes.setdefault(hunk.name, []).append(applied)
    before, after = {}, {}
    between = '\n# others\n# of\n# its\n# lines\n'
    for name, found in changes.items():
        found.sort(key=lambda hunk: hunk.counts[0])
        for texts, side in ((before, 'before'), (after, 'after')):
            lines = between.join('\n'.join(getattr(hunk, side)) for hunk in found)
            texts[name] = '# the start\n' + lines + '\n'
    return before, after


def write(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob('*') if path.is_file()}


def apply(*words, **environment):
    """Return the exit status and the output."""
    done = subprocess.run(
        [APPLY] + [str(word) for word in words],
        env=dict(os.environ, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return done.returncode, done.stdout


BEFORE, AFTER = trees(series())


@pytest.fixture
def checkout(tmp_path):
    return write(tmp_path / 'checkout', BEFORE)


def test_the_trees_contain_the_lines_in_question():
    networks = [f'src/lib/models/networks/{name}.py' for name in ('pose_dla_dcn', 'resnet_dcn')]
    for name in networks:
        assert 'from .DCNv2.dcn_v2 import DCN' in BEFORE[name]
        assert 'DCNv2' not in AFTER[name]
        assert 'from centernet.kernels import DCN' in AFTER[name]
    assert 'src/lib/opts.py' in BEFORE and 'src/test.py' in BEFORE


def test_fresh_and_twice(checkout):
    (checkout / 'src' / 'test.py').chmod(0o755)
    status, said = apply(checkout)
    assert (status, read(checkout)) == (0, AFTER), said
    assert os.stat(str(checkout / 'src' / 'test.py')).st_mode & 0o777 == 0o755
    status, said = apply(checkout)
    assert (status, read(checkout)) == (0, AFTER), said
    assert said.count('applied already') == len(series())


def test_a_dry_run_changes_nothing(checkout):
    status, said = apply('--dry-run', checkout)
    assert (status, read(checkout)) == (0, BEFORE)
    assert said.count(': fits') == len(series())
    assert 'dry run' in said


@pytest.mark.parametrize('dry', [[], ['--dry-run']])
@pytest.mark.parametrize('name', sorted(BEFORE))
def test_a_fork_that_does_not_match_is_rejected_as_a_whole(checkout, name, dry):
    # the last of the lines to change is different
    lines = (checkout / name).read_text().split('\n')
    number = max(number for number, line in enumerate(lines) if line and line not in AFTER[name].split('\n'))
    lines[number] += '  # a fork'
    (checkout / name).write_text('\n'.join(lines))
    before = read(checkout)
    status, said = apply(*dry + [checkout])
    assert (status, read(checkout)) == (2, before)
    assert name in said


def test_lines_that_moved_are_found(checkout):
    for name in BEFORE:
        (checkout / name).write_text('# of a fork\n' * 40 + BEFORE[name])
    status, said = apply(checkout)
    assert status == 0, said
    assert read(checkout) == {name: '# of a fork\n' * 40 + text for name, text in AFTER.items()}


@pytest.mark.parametrize('patch', series())
def test_one_patch_alone(checkout, patch):
    assert apply(checkout, patch[:4])[0] == 0
    assert read(checkout) == trees([patch])[1]
    assert apply(checkout)[0] == 0  # and the rest
    assert read(checkout) == AFTER


def test_what_is_rejected_for_other_reasons(checkout, tmp_path):
    tools = tmp_path / 'tools'
    tools.mkdir()
    for tool in ('bash', 'dirname'):
        (tools / tool).symlink_to(shutil.which(tool))
    for words, environment, message in (
        ([], {}, 'checkout'),
        ([tmp_path], {}, str(tmp_path)),
        (['--force', checkout], {}, '--force'),
        ([checkout, '0009'], {}, '0009'),
        ([checkout], {'PATH': str(tools)}, 'patch'),
    ):
        status, said = apply(*words, **environment)
        assert (status, message in said) == (2, True), said
    assert read(checkout) == BEFORE
    (checkout / 'src' / 'test.py').unlink()
    status, said = apply(checkout)
    assert (status, 'src/test.py' in said) == (2, True), said
    assert read(checkout) == {name: text for name, text in BEFORE.items() if name != 'src/test.py'}


@pytest.mark.parametrize(
    'words, task',
    [
        ([], 'ctdet'),
        (['exdet'], 'exdet'),
        (['--task', 'exdet'], 'exdet'),
        (['exdet', '--dataset', 'pascal'], 'exdet'),
        (['--dataset', 'pascal', 'exdet'], 'exdet'),
        (['--dataset', 'pascal', '--task', 'ddd'], 'ddd'),
    ],
)
def test_the_task_as_argument_as_flag_and_omitted(words, task):
    found = {'argparse': argparse}
    exec('class Options:\n  def __init__(self):\n' + AFTER['src/lib/opts.py'], found)
    assert found['Options']().parser.parse_args(words).task == task
