"""Arguments of the Ray Serve application `agent.runtime.ray_app`, and the deployment they make."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from agent.config.settings import ResponderChoice

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
"""Sends the requests of a session to one replica, as long as that has room."""

HEALTH_SECONDS = 10.0
"""Time between two health checks, and the longest answer to one."""


class Arguments(ResponderChoice):
    """Arguments of the application: those of `[responder]`, and how many replicas there are.

    Attributes:
        api_key: key that voice servers must send (their ``responder.api_key``); None: none.
        threads: CPU threads of a replica, and the CPUs that Ray keeps for it; None: one.
        replicas: replicas, or the least of them where ``max_replicas`` is higher.
        max_replicas: most replicas; None: as many as ``replicas``.
        target_queue: requests of a replica, running or waiting, above which there are more
            replicas and below which there are fewer; None: half of ``batch``.
        batch: most requests that a replica works on at the same time; they share forward passes.
        queue: most requests that wait in each proxy of Ray Serve; further ones are refused (503).
        sessions: calls whose prompt cache a replica keeps.
        reply_seconds: longest time of one request at a replica.
        gpus: GPUs of a replica; a fraction shares one.
    """

    replicas: int = Field(1, ge=1, le=1024)
    max_replicas: int | None = Field(None, ge=1, le=1024)
    target_queue: float | None = Field(None, gt=0)
    batch: int = Field(16, ge=1, le=256)
    queue: int = Field(64, ge=1, le=10_000)
    sessions: int = Field(64, ge=1, le=10_000)
    reply_seconds: float = Field(30.0, gt=0, le=600)
    gpus: float = Field(0.0, ge=0, le=16)

    @model_validator(mode="after")
    def _computes(self) -> Arguments:
        if self.engine in ("hosted", "ray", "ab"):
            raise ValueError(f"engine: {self.engine} runs in voice servers, not in a replica")
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas: {self.max_replicas} is less than replicas, {self.replicas}"
            )
        return self

    def deployment(self) -> dict[str, Any]:
        """The options of the deployment."""
        return {
            "name": "responder",
            "max_ongoing_requests": self.batch,
            "max_queued_requests": self.queue,
            "ray_actor_options": {"num_cpus": self.threads or 1, "num_gpus": self.gpus},
            "health_check_period_s": HEALTH_SECONDS,
            "health_check_timeout_s": HEALTH_SECONDS + 5,
            "graceful_shutdown_timeout_s": self.reply_seconds + 5,
            "request_router_config": {"request_router_class": ROUTER},
            **self._scale(),
        }

    def _scale(self) -> dict[str, Any]:
        if self.max_replicas in (None, self.replicas):
            return {"num_replicas": self.replicas}
        scaling = {
            "min_replicas": self.replicas,
            "max_replicas": self.max_replicas,
            "target_ongoing_requests": self.target_queue or self.batch / 2,
        }
        return {"autoscaling_config": scaling}
