"""docker stop and Ctrl-C during a run: it stops at once, keeps finished images, and --resume continues it."""

import json
import os
import time

import pytest
from support.engine import ROOT, call
from support.processes import journal_ids

IMAGES = 200
#: seconds; Docker kills after 10 s by default, the services after 15 s
PROMPTLY = 8


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize('how, status', [(['stop'], 143), (['kill', '--signal', 'INT'], 130)])
def test_interrupt_and_resume(compose, outside, how, status):
    flags = ['--batch-size', '1', '--workers', '0', '--no-progress']
    if os.getuid() == 0:  # the init process then is another user than the command
        os.chown(str(compose.output), 1234, 1234)
    name = f'centernet-test-{os.getpid()}'
    call(
        ['docker', 'compose', 'run', '--detach', '--name', name, 'eval-pth'] + flags,
        environment=compose.environment,
        cwd=ROOT,
    )
    folder = compose.output / 'eval-pth'
    try:
        deadline = time.time() + 120
        while len(lines_of(folder / 'journal.jsonl')) < IMAGES // 4 and time.time() < deadline:
            time.sleep(0.02)
        start = time.time()
        compose.docker(*(how + [name]))
        compose.docker('wait', name, quiet=True)
        assert time.time() - start < PROMPTLY
        assert compose.docker('inspect', '--format', '{{.State.ExitCode}}', name).stdout.strip() == str(
            status
        )
        logs = compose.docker('logs', name).stderr
    finally:
        compose.docker('rm', '--force', name)

    journal = lines_of(folder / 'journal.jsonl')
    finished = len(journal_ids(folder))
    assert 0 < finished < IMAGES, 'it was not interrupted half-way'
    assert {path.name for path in folder.iterdir()} == {
        'journal.jsonl',
        'sample',
    }, 'an incomplete file is left'
    for line in journal:
        json.loads(line)
    assert f'{finished} of {IMAGES} images' in logs
    assert 'Traceback' not in logs

    compose.run('eval-pth', '--resume', *flags)
    with open(str(folder / 'metrics.json'), encoding='utf-8') as file:
        found = json.load(file)
    with open(str(outside / 'metrics.json'), encoding='utf-8') as file:
        expected = json.load(file)
    assert lines_of(folder / 'journal.jsonl')[: len(journal)] == journal, (
        'finished images were evaluated again'
    )
    assert found['metrics'] == pytest.approx(expected['metrics'], abs=0.0005)
    assert found['images'] == IMAGES
