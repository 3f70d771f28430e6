"""ATC's command line beside an ascend file."""

import os
import shutil
import subprocess

import pytest
from support.exports import SIZE

from centernet.exporting.exporter import export


@pytest.fixture
def atc(tmp_path):
    """Runs the script of an ascend file with a command ``atc`` that prints what it is given."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    (folder / 'atc').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / 'atc').chmod(0o755)

    def run(script, *arguments):
        environment = dict(os.environ, PATH='{}:{}'.format(folder, os.environ['PATH']))
        return subprocess.run(
            ['sh', script] + list(arguments),
            cwd='/',
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    return run


@pytest.mark.skipif(not shutil.which('sh'), reason='needs a shell')
def test_the_script_calls_atc(atc, checkpoint, tmp_path):
    _, script = export(
        checkpoint('dla_tiny'), str(tmp_path), "it's a net", ['ascend'], size=(SIZE, SIZE + 32), batch=4
    )
    done = atc(script)
    assert done.stdout.splitlines() == [
        '--framework=5',
        "--model=it's a net.onnx",
        "--output=it's a net",
        '--input_format=NCHW',
        '--input_shape=image:4,3,64,96',
        '--out_nodes=hm;wh;reg',
        '--log=error',
        '--soc_version=Ascend310',
        '--precision_mode=force_fp16',
    ]
    words = atc(script, 'Ascend310P3', 'must_keep_origin_dtype', '4').stdout.splitlines()
    assert words[-2:] == ['--soc_version=Ascend310P3', '--precision_mode=must_keep_origin_dtype']
    older = atc(script, '--node-names', 'Ascend910', 'force_fp16').stdout.splitlines()
    assert older[5] == '--out_nodes=hm.2:0;wh.2:0;reg.2:0'  # the nodes have the names of the modules
    assert older[:5] + older[6:] == words[:5] + [
        '--log=error',
        '--soc_version=Ascend910',
        '--precision_mode=force_fp16',
    ]
    refused = atc(script, 'Ascend310', 'force_fp16', '8')
    assert refused.returncode == 2 and 'fixed to a batch of 4' in refused.stderr
