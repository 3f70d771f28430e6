#!/bin/bash
# In the image's build stage: make a folder of Python packages the same, byte for byte, whenever it is built.
#
#   make-reproducible.sh <python> <folder>
#
# Compiled files hold the time stamp of their source, so every file gets SOURCE_DATE_EPOCH. They are made here because the running
# container cannot write them; without them torch takes seconds longer to load.
set -euo pipefail

python=$1 folder=$2
find "$folder" -name __pycache__ -prune -exec rm -rf {} +
find "$folder" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
# some packages carry files for other Pythons, which do not compile
PYTHONHASHSEED=0 "$python" -m compileall -qq "$folder" || true
find "$folder" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
