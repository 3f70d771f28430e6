"""Whole networks of 80 classes, exported and verified as by a user: every architecture, target and stage.

Takes minutes and 2 GB of memory: ``make test ARGS="-m networks"``, or ``.ci/run networks`` for both stacks.
"""

import pytest
from support.random_weights import save_checkpoint

from centernet.cli import main

pytestmark = pytest.mark.networks

HEADS = {'hm': 80, 'wh': 2, 'reg': 2}
FILES = ('net.onnx', 'net_tensorrt.onnx', 'net_onnx.onnx', 'net_portable.onnx')


@pytest.mark.parametrize(
    'arch, size',
    [('res_18', 128), ('resdcn_18', 128), ('dlav0_34', 128), ('hourglass', 128), ('dla_34', 512)],
)
def test_every_file_is_the_same_model(arch, size, tmp_path, capsys):
    weights = save_checkpoint(tmp_path / 'net.pth', arch, HEADS, size)
    assert main(['export', '--weights', weights, '--target', 'all', '--output', str(tmp_path)]) == 0
    capsys.readouterr()
    flags = ['--weights', weights, '--limit', '8', '--compare-images', '4', '--no-progress']
    flags += ['--device', 'cpu', '--output', str(tmp_path / 'verified')]
    for file in FILES:
        status = main(['verify', str(tmp_path / file)] + flags)
        text = capsys.readouterr().out
        assert status == 0 and text.count(': passed') == 4, text
        (tmp_path / file).unlink()  # hourglass's have 760 MB each
    (tmp_path / 'net.pth').unlink()
