"""The forms in which tools read inputs: :data:`LAYOUTS`, the one list.

This imports nothing slow, so that the command line can offer the names.
"""

import base64
import io
import json
import shlex
from collections import OrderedDict
from typing import Any, NamedTuple

#: folders of the inputs, and of those for the calibration of a quantised network
INPUTS, CALIBRATION = 'inputs', 'calibration'
#: the name of the input in files that centernet export writes
INPUT_NAME = 'image'
#: types of the numbers in the files
DTYPES = ('float32', 'float16')

_TRTEXEC = """\
#!/bin/sh
# Runs an engine on every file of inputs/ with trtexec.
#
#   sh trtexec.sh ENGINE [OUTPUT] [FORM]
#
#   ENGINE  the file that trtexec --saveEngine wrote, for a batch of {batch}
#   OUTPUT  folder for the outputs (default: outputs)
#   FORM    raw: exact, and needs a trtexec with --dumpRawBindingsToFile; json: six digits (default: raw)
set -eu
: "${{1:?usage: sh trtexec.sh ENGINE [OUTPUT] [FORM]}}"
here=$(cd "$(dirname "$0")" && pwd)
case $1 in /*) engine=$1 ;; *) engine=$PWD/$1 ;; esac
output=${{2:-outputs}}
form=${{3:-raw}}
mkdir -p "$output"
output=$(cd "$output" && pwd)
for input in "$here"/{inputs}/*.bin; do
    name=$(basename "$input" .bin)
    if [ "$form" = json ]; then
        set -- --exportOutput="$output/$name.json"
    else
        mkdir -p "$output/$name"
        cd "$output/$name" # trtexec writes into the working folder
        set -- --dumpRawBindingsToFile
    fi
    trtexec --loadEngine="$engine" --loadInputs={input}:"$input" --iterations=1 --warmUp=0 --duration=0 \\
        "$@" > "$output/trtexec.log" 2>&1 || {{ cat "$output/trtexec.log" >&2; exit 1; }}
    if [ "$form" != json ]; then rm -f ./*.input.*.raw; fi
done
"""


class Layout(NamedTuple):
    """How a tool wants its inputs.

    ``name``: what users type. ``summary``: one line of help. ``suffix``: of the files. ``by_position``: files
    are numbered from 0; otherwise they are named after the image's id, in 12 digits. ``batches``: whether a
    file may hold several images, for a tool that does not join files itself. ``list_file``: the list or
    script for the tool, beside the folder of the inputs; None if it needs none.
    """

    name: str
    summary: str
    suffix: str
    by_position: bool = False
    batches: bool = False
    list_file: Any = None


#: name -> Layout
LAYOUTS = OrderedDict(
    (layout.name, layout)
    for layout in (
        Layout('ais', "ais_bench and msame, and AMCT's calibration: <id>.bin", '.bin'),
        Layout(
            'benchmark',
            'benchmark.x86_64 and benchmark.aarch64: <number>.bin and the list bin_file.info',
            '.bin',
            by_position=True,
            list_file='bin_file.info',
        ),
        Layout(
            'trtexec',
            'trtexec: <id>.bin and the script trtexec.sh, which runs them one by one',
            '.bin',
            batches=True,
            list_file='trtexec.sh',
        ),
        Layout('polygraphy', 'polygraphy run: <id>.json', '.json', batches=True),
    )
)


def file_stem(image_id: int) -> str:
    """The name of an input file of an image without its suffix: 12 digits."""
    return f'{image_id:012d}'


def encode(layout: Layout, name: str, array: Any) -> bytes:
    """The content of an input file: the numbers, or Polygraphy's JSON with numpy's own format in it.

    Args:
        layout: of the file.
        name: of the network's input.
        array: float32 or float16 [N, 3, H, W].
    """
    if layout.name != 'polygraphy':
        return array.tobytes()
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    text = base64.b64encode(buffer.getvalue()).decode('ascii')
    return json.dumps([{name: {'array': text, 'polygraphy_class': 'ndarray'}}]).encode('ascii')


def list_text(layout: Layout, names: Any, batch: int, width: int, height: int, input_name: str) -> str:
    """The content of a layout's list or script.

    Args:
        layout: one with a ``list_file``.
        names: of the input files, relative to the list, in order.
        batch: images in each.
        width, height: of the input, in pixels.
        input_name: of the network.
    """
    if layout.name == 'trtexec':
        return _TRTEXEC.format(batch=batch, inputs=INPUTS, input=shlex.quote(input_name))
    return ''.join(f'{number} ./{name} {width} {height}\n' for number, name in enumerate(names))
