#!/bin/bash
# Trains on all hosts of a TPU slice: launch/tpu_pod.sh NAME ZONE --gin_file nlp/13b.gin --run_dir gs-mount/runs/13b
# pangu-jax[tpu] must be installed on every host. Never run on a TPU; see docs/clusters.md.

set -euo pipefail
name=$1 zone=$2
shift 2

# PANGU_COORDINATOR=auto: JAX reads from the slice's metadata which host is which.
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="PANGU_COORDINATOR=auto pangu train $(printf '%q ' "$@")"
