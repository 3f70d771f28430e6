#!/bin/bash
# Make a folder of Python packages byte-for-byte reproducible. Runs in a build stage.
#
#   make-reproducible.sh <python> <folder>
#
# Every file gets the time stamp SOURCE_DATE_EPOCH, which .pyc files record. They are compiled here because the running
# container cannot write them; without them torch takes seconds longer to import.
set -euo pipefail

python=$1 folder=$2
find "$folder" -name __pycache__ -prune -exec rm -rf {} +
find "$folder" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
# some packages include files for other Python versions, which do not compile
PYTHONHASHSEED=0 "$python" -m compileall -qq "$folder" || true
find "$folder" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
