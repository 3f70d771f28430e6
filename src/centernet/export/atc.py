"""The command line of ATC, Ascend's compiler, as a script beside the file that it compiles."""

import os
import re
import shlex
from typing import List, Sequence

from ..errors import ModelError
from ..files import atomic_write
from ..onnxfile.graph import Graph

_SCRIPT = """\
#!/bin/sh
# Compiles {name} for an Ascend processor, with ATC of the CANN toolkit (source its set_env.sh first).
#
#   sh {script} [--node-names] [SOC_VERSION] [PRECISION_MODE] [BATCH]
#
#   --node-names    name the outputs by their nodes, as ATC before CANN 8 wants it
#   SOC_VERSION     the processor, as npu-smi info shows it with "Ascend" in front (default: Ascend310)
#   PRECISION_MODE  of ATC: force_fp16, allow_fp32_to_fp16, must_keep_origin_dtype, ...
#                   (default: force_fp16, what DeformableConv2D runs in)
#   BATCH           images at once: the file is fixed to {batch}; for another one, export it with --batch
#
# The outputs come in the order {order}. Without --out_nodes, ATC would choose one.
# The input is float32 (pixel / 255 - mean) / std, in the order B, G, R; the file's metadata has the numbers.
set -eu
cd "$(dirname "$0")"
out_nodes={outputs}
if [ "${{1:-}}" = --node-names ]; then
    out_nodes={nodes}
    shift
fi
soc_version=${{1:-Ascend310}}
precision_mode=${{2:-force_fp16}}
batch=${{3:-{batch}}}
if [ "$batch" != {batch} ]; then
    echo "$0: the file is fixed to a batch of {batch}; export it again with --batch $batch" >&2
    exit 2
fi
exec atc --framework=5 --model={model} --output={output} --input_format=NCHW \\
    --input_shape={input}:"$batch",{shape} --out_nodes="$out_nodes" --log=error \\
    --soc_version="$soc_version" --precision_mode="$precision_mode"
"""


def write_script(path: str, graph: Graph) -> str:
    """Write the script for a file, ``<stem>_atc.sh`` beside it, and return its path.

    Args:
        path: the ONNX file.
        graph: its graph, with one input of fixed shape.

    Raises:
        ModelError: the size of the input is open, or a node that computes an output has no name.
        OutputError: the script cannot be written.
    """
    (image,) = graph.inputs
    if not all(isinstance(side, int) for side in image.shape):
        raise ModelError(f'ATC needs a fixed input, not {list(image.shape)}')
    name = os.path.basename(path)
    stem = re.sub(r'\.onnx$', '', name)
    script = stem + '_atc.sh'
    names = graph.output_names()
    text = _SCRIPT.format(
        name=name,
        script=script,
        batch=image.shape[0],
        shape=','.join(str(side) for side in image.shape[1:]),
        model=shlex.quote(name),
        output=shlex.quote(stem),
        input=shlex.quote(image.name),
        order=', '.join(names),
        outputs=shlex.quote(';'.join(names)),
        nodes=shlex.quote(';'.join(_node_names(graph, names))),
    )
    script = os.path.join(os.path.dirname(path), script)
    with atomic_write(script) as file:
        file.write(text)
    return script


def _node_names(graph: Graph, outputs: Sequence[str]) -> List[str]:
    """The nodes of the outputs, with the number of each output at its node: ``Conv_1120:0``."""
    producers, found = graph.producers(), []
    for name in outputs:
        node = producers.get(name)
        if node is None or not node.name:
            raise ModelError(f'the node that computes the output {name} has no name, which ATC needs')
        found.append(f'{node.name}:{node.outputs.index(name)}')
    return found
