"""A Ray cluster of a head without processors and two nodes, in a process of its own: `python tests/two_ray_nodes.py`.

Prints its address; for a line on standard input it kills the older node and starts another, and it ends when that is
closed.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        print("killed", flush=True)
        nodes.append(cluster.add_node(num_cpus=1))
    cluster.shutdown()


if __name__ == "__main__":
    main()
