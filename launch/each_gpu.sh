#!/bin/bash
# One process for each GPU of this node, instead of one for all of them: launch/each_gpu.sh 8 pangu train --gin_file ...
# What PANGU_PROCESSES and PANGU_PROCESS (or JOB_COMPLETION_INDEX) say of nodes, each process is told of itself.
# On one node nothing else need be set. Never run on a GPU; see docs/clusters.md.

set -uo pipefail
gpus=$1
shift
nodes=${PANGU_PROCESSES:-1}
node=${PANGU_PROCESS:-${JOB_COMPLETION_INDEX:-0}}
[ "$nodes" -gt 1 ] || export PANGU_COORDINATOR=${PANGU_COORDINATOR:-localhost:20000}

status=0 stopping=
stop() { # once: a second SIGTERM would not let them save
    [ "$stopping" ] || kill -TERM $(jobs -rp) 2>&-
    stopping=yes
}
trap stop TERM INT

for ((gpu = 0; gpu < gpus; gpu++)); do
    PANGU_PROCESSES=$((nodes * gpus)) PANGU_PROCESS=$((node * gpus + gpu)) PANGU_LOCAL_DEVICES=$gpu "$@" &
done
while [ "$(jobs -rp)" ]; do
    wait -n
    code=$?
    # Above 128 while all are told to stop: this wait was interrupted, no process ended.
    if [ "$code" -ne 0 ] && ! { [ "$stopping" ] && [ "$code" -gt 128 ]; }; then
        [ "$status" -ne 0 ] || status=$code
        stop
    fi
done
exit "$status"
