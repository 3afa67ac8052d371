#!/bin/bash
# Trains on the nodes of a Slurm job: sbatch launch/slurm.sh --gin_file nlp/13b.gin --run_dir /shared/runs/13b
# One process per node, which uses all of the node's chips; one for each of 8 GPUs: sbatch --ntasks-per-node=8 launch/slurm.sh
# Never run on a Slurm cluster; see docs/clusters.md.
#SBATCH --job-name=pangu
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
# --signal: five minutes before the time is over all processes save and leave; submit again to resume.

set -euo pipefail
RESTARTS=${RESTARTS:-10}

# SLURM_NTASKS and SLURM_PROCID, which srun sets for each task, say the rest.
# All lines are read: a reader that left after the first would end scontrol, and with pipefail this script.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export PANGU_COORDINATOR="$first:$((20000 + SLURM_JOB_ID % 10000))"

# Several tasks on a node: each takes the GPU of its own number there.
if [ "${SLURM_NTASKS_PER_NODE:-1}" -gt 1 ]; then
    export PANGU_LOCAL_DEVICES=one
fi

status=0
srun --kill-on-bad-exit=1 pangu train "$@" || status=$?

# A process that died has ended the others. Slurm starts the job again, without the node that failed.
if [ "$status" -ne 0 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$RESTARTS" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
