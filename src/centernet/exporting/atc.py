"""The command line of ATC, Ascend's compiler, as a script beside the file that it compiles."""

import os
import re
import shlex

from ..onnxfile.graph import Graph
from ..system.files import atomic_write

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
        graph: its graph, with one input of fixed shape, whose nodes have names.

    Raises:
        OutputError: the script cannot be written.
    """
    (image,) = graph.inputs
    stem = re.sub(r'\.onnx$', '', path)
    name, script = os.path.basename(path), stem + '_atc.sh'
    names, producers = graph.output_names(), graph.producers()
    nodes = [f'{producers[name].name}:{producers[name].outputs.index(name)}' for name in names]
    text = _SCRIPT.format(
        name=name,
        script=os.path.basename(script),
        batch=image.shape[0],
        shape=','.join(map(str, image.shape[1:])),
        model=shlex.quote(name),
        output=shlex.quote(os.path.basename(stem)),
        input=shlex.quote(image.name),
        order=', '.join(names),
        outputs=shlex.quote(';'.join(names)),
        nodes=shlex.quote(';'.join(nodes)),
    )
    with atomic_write(script) as file:
        file.write(text)
    return script
