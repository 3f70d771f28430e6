"""Whole networks of 80 classes, as a user exports and verifies them: every architecture, every target, every
stage.

Takes minutes and 2 GB of memory, so it is run where CENTERNET_WHOLE_NETWORKS=1 asks for it; .ci/run does, on
both stacks.
"""

import os

import pytest
from support.random_weights import save_checkpoint

from centernet.cli import main

pytestmark = pytest.mark.skipif(
    os.environ.get('CENTERNET_WHOLE_NETWORKS') != '1',
    reason='takes minutes; CENTERNET_WHOLE_NETWORKS=1 runs it',
)

HEADS = {'hm': 80, 'wh': 2, 'reg': 2}


@pytest.mark.parametrize(
    'arch, size',
    [('res_18', 128), ('resdcn_18', 128), ('dlav0_34', 128), ('hourglass', 128), ('dla_34', 512)],
)
def test_every_file_is_the_same_model(arch, size, tmp_path, capsys):
    weights = save_checkpoint(tmp_path / 'net.pth', arch, HEADS, size)
    assert main(['export', '--weights', weights, '--target', 'all']) == 0
    capsys.readouterr()
    all_said = []
    for file in ('net.onnx', 'net_tensorrt.onnx', 'net_onnx.onnx', 'net_portable.onnx'):
        status = main(
            [
                'verify',
                str(tmp_path / file),
                '--weights',
                weights,
                '--limit',
                '8',
                '--compare-images',
                '4',
                '--no-progress',
                '--device',
                'cpu',
                '--output',
                str(tmp_path / 'verified'),
            ]
        )
        said = capsys.readouterr().out
        all_said.append(said)
        assert status == 0 and said.count(': passed') == 4, said
        (tmp_path / file).unlink()  # hourglass's are 760 MB each
    (tmp_path / 'net.pth').unlink()
    print('\n'.join(all_said))
