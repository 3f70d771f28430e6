#!/bin/bash
# Run a command of centernet as a Slurm job: a shard, as a task of an array, or the merge. submit.sh submits both.
#
#   sbatch --array=1-8 deploy/slurm/job.sh eval-pth --shard auto --resume [FLAG...]
#
# Without IMAGE, centernet has to be on PATH: activate its environment before sbatch, which passes your variables on.
# IMAGE=centernet.sif runs it in the project's image with Apptainer (docs/container.md). The container sees the folder in which
# sbatch was called, under the same name, and those in APPTAINER_BIND.
#
# Resources of a task, to be adapted to the cluster; options of sbatch have precedence:
#
#SBATCH --job-name=centernet
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=4:00:00
#
# Slurm starts a task again if its node fails or it is preempted. A minute before the time limit it sends USR1 to this script,
# which then stops the command and asks for the same. (With TERM, scancel and preemption would look like the time limit.)
#
#SBATCH --requeue
#SBATCH --signal=B:USR1@60
#SBATCH --open-mode=append
set -euo pipefail

# how often a task may start again; a task that always fails must come to an end
RESTARTS=${RESTARTS:-10}

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} PYTHONUNBUFFERED=1
# Never a GPU that belongs to another job, and never a CPU in place of a broken GPU.
if [ -z "${DEVICE:-}" ]; then
    if [ -n "${SLURM_JOB_GPUS:-}" ]; then DEVICE=cuda; else DEVICE=cpu; fi
fi
export DEVICE

command=(centernet)
if [ -n "${IMAGE:-}" ]; then
    command=(apptainer run --nv --compat --bind "$PWD" --pwd "$PWD" "$IMAGE")
    # --compat keeps the variables of the host out.
    for name in SHARDS "${!SLURM_ARRAY_@}" OMP_NUM_THREADS PYTHONUNBUFFERED WEIGHTS DATA DEVICE CUDA_VISIBLE_DEVICES; do
        if [ -n "${!name:-}" ]; then export "APPTAINERENV_$name=${!name}"; fi
    done
fi

status=0 time_is_up=
trap 'time_is_up=yes; kill "$pid" || true' USR1
"${command[@]}" "$@" &
pid=$!
wait "$pid" || status=$?
if [ -n "$time_is_up" ]; then # the trap has ended the first wait
    status=0
    wait "$pid" || status=$?
fi
# Only what a signal has killed is worth another attempt: 1 is for images that cannot be read, 2 for invalid input, 255 for what
# Apptainer cannot start.
if [ "$status" -gt 128 ] && [ "$status" -lt 255 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$RESTARTS" ]; then
    echo "job.sh: $1 was killed (exit status $status); it starts again" >&2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
