"""Networks and their exports, each made once: they take most of these tests' time."""

import os

import pytest
from support.exports import HEADS, SIZE
from support.random_weights import save_checkpoint

from centernet.exporting.exporter import export
from centernet.exporting.targets import TARGETS
from centernet.networks.checkpoint import load_model

#: the size of the shared exports, (height, width)
EXPORT_SIZE = (SIZE, SIZE + 32)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """arch -> LoadedModel with random weights."""
    made = {}

    def load(arch):
        if arch not in made:
            path = tmp_path_factory.mktemp(arch) / 'net.pth'
            classes = ['one', 'two', 'three']
            made[arch] = load_model(save_checkpoint(path, arch, HEADS, SIZE, seed=1, classes=classes))
        return made[arch]

    yield load
    made.clear()


@pytest.fixture(scope='session')
def exported(checkpoint, tmp_path_factory):
    """arch -> target -> path of the file, of all targets, for images of EXPORT_SIZE; not to be changed."""
    made = {}

    def files(arch):
        if arch not in made:
            folder = tmp_path_factory.mktemp(arch)
            written = export(checkpoint(arch), str(folder), 'net', list(TARGETS), size=EXPORT_SIZE)
            assert sorted(map(os.path.basename, written)) == sorted(os.listdir(str(folder)))
            made[arch] = dict(zip(TARGETS, [path for path in written if path.endswith('.onnx')]))
        return made[arch]

    return files
