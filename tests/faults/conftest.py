import json
import subprocess

import pytest
from support.painted import write_data
from support.processes import IMAGES, eval_pth, finish


@pytest.fixture(scope='session')
def sample_like_data(tmp_path_factory):
    """A data set with the sample's number of categories, for its checkpoint; 5 pictures, each many times."""
    folder = write_data(tmp_path_factory.mktemp('data') / 'data', count=IMAGES, files=5)
    path = folder / 'annotations' / 'instances_val2017.json'
    document = json.loads(path.read_text())
    document['categories'] += [{'id': 20, 'name': 'blue'}, {'id': 21, 'name': 'grey'}]
    path.write_text(json.dumps(document))
    return folder


@pytest.fixture(scope='session')
def whole(sample_like_data, tmp_path_factory):
    """The output folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp('whole')
    status, _, err = finish(eval_pth(sample_like_data, folder))
    assert status == 0, err
    return folder


@pytest.fixture
def full_disk(tmp_path):
    """A function that mounts a file system of some kilobytes and returns its folder."""
    mounted = []

    def mount(kilobytes):
        folder = tmp_path / f'disk{len(mounted)}'
        folder.mkdir()
        run = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k', 'tmpfs', str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if run.returncode:
            pytest.skip(f'cannot mount a file system: {run.stdout.decode().strip()}')
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.check_call(['umount', '--lazy', str(folder)])
