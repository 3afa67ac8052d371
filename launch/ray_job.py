"""Trains on the nodes of a Ray cluster, one process per node, and starts all again when one dies.

    ray job submit --address http://HEAD:8265 --working-dir . -- \\
        python launch/ray_job.py --nodes 4 --gpus 8 -- --gin_file nlp/13b.gin --run_dir /shared/runs/13b

What follows the second `--` goes to `pangu train`. pangu-jax must be installed on every node, and the run
directory must be on a file system that all of them share. See docs/clusters.md.
"""

import argparse
import os
import socket
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def free_address() -> str:
    """HOST:PORT on this node for the coordinator."""
    with socket.create_server(("", 0)) as free:
        return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


def train(arguments: list[str], coordinator: str, count: int, index: int) -> int:
    """`pangu train` as process `index` of `count`; its exit status."""
    environment = os.environ | {
        "PANGU_COORDINATOR": coordinator,
        "PANGU_PROCESSES": str(count),
        "PANGU_PROCESS": str(index),
    }
    return subprocess.run(["pangu", "train", *arguments], env=environment, check=False).returncode


def main() -> int:
    """One process on each of so many nodes. When one dies the others end by themselves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus", type=int, default=0, help="of a node")
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--strategy", default="STRICT_SPREAD", help="PACK: also several processes on a node")
    parser.add_argument("arguments", nargs="+", help="of `pangu train`, after --")
    flags = parser.parse_args()

    ray.init()
    group = placement_group([{"CPU": 1, "GPU": flags.gpus}] * flags.nodes, strategy=flags.strategy)
    ray.get(group.ready())

    def on_node(function, node: int):
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=node)
        options = {"num_cpus": 1, "num_gpus": flags.gpus, "max_retries": 0, "scheduling_strategy": strategy}
        return ray.remote(function).options(**options)

    for _ in range(flags.restarts + 1):
        coordinator = ray.get(on_node(free_address, 0).remote())
        running = [
            on_node(train, node).remote(flags.arguments, coordinator, flags.nodes, node)
            for node in range(flags.nodes)
        ]
        try:
            status = max(map(abs, ray.get(running)))
        except ray.exceptions.RayError as error:  # a node went away
            print(f"ray_job: {str(error).splitlines()[0]}", file=sys.stderr)
            ray.wait(running, num_returns=len(running))  # the other processes end by themselves
            status = 2
        if status == 0:
            break
    return status


if __name__ == "__main__":
    sys.exit(main())
