#!/bin/bash
# Export a checkpoint to every target, and verify each file against it.
#
#   scripts/export.sh <centernet> <output folder> <weights or ''> <data or ''> [flag of centernet export]...
set -euo pipefail

centernet=${1:?usage: scripts/export.sh <centernet> <output folder> <weights> <data> [flag]...}
output=$2 weights=${3:+--weights=$3} data=${4:+--data=$4}
shift 4

name=dla_tiny
if [ -n "$weights" ]; then
    name=$(basename "${weights#--weights=}")
    name=${name%.*}
fi
"$centernet" export ${weights:+"$weights"} --output "$output" --name "$name" --target all "$@"

status=0
for file in "$name" "${name}_tensorrt" "${name}_onnx" "${name}_portable"; do
    printf '\n==== %s\n' "$output/$file.onnx"
    "$centernet" verify "$output/$file.onnx" ${weights:+"$weights"} ${data:+"$data"} --output "$output/verified/$file" || status=$?
done
exit $status
