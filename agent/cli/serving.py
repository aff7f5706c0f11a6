"""Where ``onebreath serve`` may listen, and with which certificate and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.config.settings import Settings
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Listening:
    """The settings of a server that may listen, and the link to its page.

    Attributes:
        settings: with the certificate and the key of this run, where it has its own.
        fragment: of the page's address; it carries a key of this run to the page.
    """

    settings: Settings
    fragment: str = ""

    def page(self, host: str, port: int) -> str:
        """The address of the page."""
        scheme = "http" if self.settings.server.certificate is None else "https"
        return f"{scheme}://{_in_url(host)}:{port}/{self.fragment}"

    def calls(self, host: str, port: int) -> str:
        """The address of the Realtime protocol."""
        scheme = "ws" if self.settings.server.certificate is None else "wss"
        return f"{scheme}://{_in_url(host)}:{port}/v1/realtime"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listening(settings: Settings, *, self_signed: bool, insecure: bool) -> Listening:
    """The server that ``settings`` ask for, if it is safe to have.

    Args:
        self_signed: whether to sign a certificate for this machine's addresses. Without keys in
            the settings, a key of this run is made too, so that only who has the link may call.
        insecure: whether anybody who reaches the port may call.

    Raises:
        ConfigError: other machines could call, and no key is needed.
    """
    from agent.runtime.reload import KEY_OF_RUN
    from agent.server.access import is_loopback
    from agent.server.keys import new_key

    server: dict[str, Any] = {}
    fragment = ""
    if self_signed:
        server = _certificate()
        if not settings.server.api_keys and not insecure:
            key, digest = new_key()
            server["api_keys"] = {KEY_OF_RUN: {"hash": digest}}
            fragment = f"#key={key}"
    keyless = not settings.server.api_keys and "api_keys" not in server
    if keyless and not insecure and not is_loopback(settings.server.host):
        raise ConfigError(
            f"server.host {settings.server.host} lets other machines call, and no key is needed: "
            "make a key with `onebreath key NAME`, or say --insecure if everybody may call"
        )
    if server:
        merged = {**settings.server.model_dump(), **server}
        settings = settings.model_copy(update={"server": type(settings.server)(**merged)})
    return Listening(settings, fragment)


def _certificate() -> dict[str, Any]:
    from platformdirs import user_state_path

    from agent.server.tls import self_signed

    certificate, key = self_signed(user_state_path("onebreath") / "self-signed")
    return {"certificate": certificate, "key": key}
