"""Client secrets that carry their session, sealed: every server that shares the key opens them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_LENGTH = 16_384
"""Characters of a sealed secret, at most: it travels in a header of HTTP."""

_PURPOSE = b"onebreath client secret"
_NONCE = 12


class SealTooLong(Exception):
    """The session does not fit into a secret."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The content of a sealed secret.

    Attributes:
        key: hash of the API key that made it; empty where none was needed.
        session: the session object that its calls begin with.
        expires_at: second since 1970 until which a call can begin.
    """

    key: str
    session: Mapping[str, Any]
    expires_at: int


class Seal:
    """Seals secrets and opens them (AES-256-GCM): who has one can neither read nor change it.

    Args:
        key: shared by the servers.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(hashlib.sha256(_PURPOSE + b"\0" + key).digest())

    def close(self, content: Sealed) -> str:
        """The secret with this content.

        Raises:
            SealTooLong: it would be longer than ``MAX_LENGTH``.
        """
        row = [content.key, content.expires_at, content.session]
        plain = zlib.compress(json.dumps(row, separators=(",", ":")).encode())
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, plain, _PURPOSE)
        text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        if len(text) > MAX_LENGTH:
            raise SealTooLong(
                f"the session makes a secret of {len(text)} characters, and one that several "
                f"servers accept has at most {MAX_LENGTH}: send the rest with session.update"
            )
        return text

    def open(self, text: str) -> Sealed | None:
        """The content of a secret; None if it is none of these servers."""
        if len(text) > MAX_LENGTH:
            return None
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _PURPOSE)
        except (ValueError, InvalidTag):
            return None
        key, expires_at, session = json.loads(zlib.decompress(plain))
        return Sealed(key, session, expires_at)
