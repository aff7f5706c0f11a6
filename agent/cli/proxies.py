"""Proxies of the environment, which do not reach this machine."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def reach_this_machine_directly(env: MutableMapping[str, str] = os.environ) -> None:
    """Leave this machine's own addresses out, where a proxy is set.

    Clients of websockets and http, ours and those of libraries, take the proxy for every address
    that `no_proxy` does not name, and a proxy refuses or has its own 127.0.0.1.
    """
    if not any(name.lower().endswith("_proxy") and env[name] for name in list(env)):
        return
    given = env.get("no_proxy") or env.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if "*" in names:
        return
    whole = ",".join([*names, *(name for name in THIS_MACHINE if name not in names)])
    env["no_proxy"] = env["NO_PROXY"] = whole
