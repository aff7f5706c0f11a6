"""A Ray Serve application whose replicas each hold a responder, for many voice servers.

    serve run agent.runtime.ray_app:app model=smollm2-135m-instruct replicas=2 batch=16

Voice servers use it with ``responder.engine = "ray"`` (docs/deploy.md).
"""

# No "from __future__ import annotations" here: Ray Serve reads the type of the builder's argument
# from its signature, and would see a string.

from typing import Any

from agent.errors import ConfigError
from agent.extras import install
from agent.responders.base import Responder
from agent.runtime import engine_names
from agent.runtime.engines import make_responder
from agent.runtime.ray_arguments import Arguments
from agent.runtime.ray_replica import Replica
from agent.runtime.threads import calm

try:
    from ray import serve
except ModuleNotFoundError as error:
    raise ConfigError(f"A Ray Serve application needs Ray; install it: {install('ray')}") from error


class ServedReplica(Replica):
    """A `Replica` that loads the responder of the arguments, in the process that Ray starts."""

    def __init__(self, values: dict[str, Any]) -> None:
        calm()
        chosen = Arguments(**values)

        def make() -> Responder:
            return make_responder(chosen, chosen.threads or 1, print)

        super().__init__(chosen, make, sessions=chosen.sessions, reply_seconds=chosen.reply_seconds)


def app(arguments: Arguments) -> Any:
    """The application, for ``serve run`` and for the configuration files of Ray Serve.

    Raises:
        ConfigError: a name in the arguments is not known.
    """
    engine_names.check_responder(arguments)
    values = arguments.model_dump(exclude_unset=True)
    deployed = serve.deployment(ServedReplica).options(**arguments.deployment())
    return deployed.bind(values)
