#!/bin/bash
# Evaluate with an array of Slurm jobs, and merge their results in a job that waits for them.
#
#   deploy/slurm/submit.sh [OPTION OF SBATCH...] N [FLAG OF EVAL-PTH...]
#
#   deploy/slurm/submit.sh 8 --weights models/my.pth --data data/coco --keep-res       eight tasks
#   deploy/slurm/submit.sh --partition=gpu --gpus=1 8 --weights ...                    a GPU for each
#   deploy/slurm/submit.sh --array=1-8%2 8 --weights ...                               two at a time
#   deploy/slurm/submit.sh --array=3 8 --weights ...                                   shard 3 of 8 again
#   IMAGE=centernet.sif deploy/slurm/submit.sh 8 --weights ...                         with Apptainer
#
# Options of sbatch (as --name=value) are for the shards; what SBATCH_ACCOUNT, SBATCH_PARTITION and the like say is for both
# jobs. The resources are at the top of job.sh.
#
# The folder of --output (default: output/eval-pth) gets a folder for each shard, merged/ and logs/. The same command again
# evaluates what is missing. The merge does not wait for success (afterok) but for the end (afterany): it says itself which
# shards are missing and how to make up for them, and leaves out images that could not be read, as a single run does.
set -euo pipefail
job=$(dirname "$0")/job.sh

fail() {
    echo "submit.sh: $*" >&2
    exit 2
}

options=(--parsable)
while [[ ${1:-} == -* ]]; do
    options+=("$1")
    shift
done
shards=${1:-}
[[ $shards =~ ^[1-9][0-9]*$ ]] ||
    fail "the number of shards is missing: submit.sh [OPTION OF SBATCH, as --name=value...] N [FLAG OF EVAL-PTH...]"
shift
output=output/eval-pth flags=(--shard auto --resume)
while [ $# != 0 ]; do
    case $1 in
        --output) output=${2:?--output needs a folder} && shift ;;
        --output=*) output=${1#*=} ;;
        *) flags+=("$1") ;;
    esac
    shift
done
if [ -n "${IMAGE:-}" ]; then
    [ -e "$IMAGE" ] || fail "there is no image $IMAGE"
elif ! type -P centernet >/dev/null; then
    fail "centernet is not on PATH: activate its environment, or set IMAGE to an Apptainer image"
fi

export SHARDS=$shards # tells the tasks of --array=3 of how many
mkdir -p "$output/logs"
array=$(sbatch --array="1-$shards" --output="$output/logs/shard-%a-of-$shards.log" "${options[@]}" \
    "$job" eval-pth "${flags[@]}" --output "$output")
array=${array%%;*} # a cluster's name may follow
merge=$(sbatch --parsable --dependency="afterany:$array" --job-name=centernet-merge --cpus-per-task=1 \
    --output="$output/logs/merge.log" "$job" merge "$output" --output "$output/merged")
echo "submitted: $array, $shards shards, and ${merge%%;*}, which merges them into $output/merged; logs: $output/logs"
