"""The output folder is removed during a run."""

import os
import shutil

import pytest
from support.painted import PaintNetwork
from support.processes import finish, start, wait_for
from support.runs import run

from centernet.system.errors import OutputError


class Remover(PaintNetwork):
    """Calls ``remove`` at the third batch."""

    def __init__(self, remove):
        super().__init__()
        self.remove = remove

    def __call__(self, images):
        if len(self.batches) == 2:
            self.remove()
        return super().__call__(images)


def rename_and_block(out):
    os.rename(str(out), str(out) + '-away')
    out.write_text('a file in the way')


@pytest.mark.parametrize(
    'remove',
    [lambda out: shutil.rmtree(str(out)), lambda out: (out / 'journal.jsonl').unlink(), rename_and_block],
    ids=['folder', 'journal', 'renamed'],
)
def test_evaluation_ends_with_one_line_and_writes_nothing(data, tmp_path, monkeypatch, remove):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / 'out'
    network = Remover(lambda: remove(out))
    with pytest.raises(OutputError) as caught:
        run(data, out, network, save_images=2)
    message = str(caught.value)
    assert message.startswith(os.path.join('out', 'journal.jsonl was removed')) and '\n' not in message
    assert sum(network.batches) == 12
    assert not out.is_dir() or os.listdir(str(out)) == []


@pytest.mark.slow
def test_export_ends_with_one_line(tmp_path):
    out = tmp_path / 'out'
    process = start('export', '--target', 'all', '--output', out)
    assert wait_for(lambda: out.exists() and os.listdir(str(out)), process)  # the first file has been started
    shutil.rmtree(str(out), ignore_errors=True)
    status, _, err = finish(process)
    assert status == 2, err
    assert 'Traceback' not in err and 'No such file or directory' in err.splitlines()[-1]
