"""Ray on this machine with the application of `agent.runtime.ray_app`, until its input ends.

    python -m support.ray_cluster PORT '{"engine": "scripted", "replicas": 2}'

Prints ``ready`` when the replicas answer.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import ray
    from ray import serve

    from agent.runtime.ray_app import Arguments, app

    port, arguments = int(sys.argv[1]), Arguments(**json.loads(sys.argv[2]))
    ray.init(
        num_cpus=8, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app(arguments), name="onebreath", route_prefix="/")
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            _kill_a_replica(ray)
            print("killed", flush=True)
    serve.shutdown()
    ray.shutdown()


def _kill_a_replica(ray: object) -> None:
    from ray.util.state import list_actors

    del ray, list_actors


if __name__ == "__main__":
    main()
