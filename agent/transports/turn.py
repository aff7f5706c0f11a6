"""Credentials for TURN servers: those of the settings, or short-lived ones by a shared secret.

The scheme is that of draft-uberti-behave-turn-rest-00, which coturn (``use-auth-secret``) and
others implement: the user name begins with the second since 1970 until which it is valid, and the
password is the base64 of its HMAC-SHA1 under the shared secret.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time

from agent.config.settings import IceServer


def credentials(server: IceServer, now: float | None = None) -> tuple[str | None, str | None]:
    """User name and password for ``server``; None where it needs none.

    Args:
        now: seconds since 1970; the clock's where none is given.
    """
    if server.secret is None:
        given = server.credential
        return server.username, None if given is None else given.get_secret_value()
    expires = int(time.time() if now is None else now) + server.credential_seconds
    # The name is random: the owner of the TURN server learns nothing about the caller.
    username = f"{expires}:{secrets.token_hex(8)}"
    secret = server.secret.get_secret_value().encode()
    return username, base64.b64encode(hmac.digest(secret, username.encode(), "sha1")).decode()
