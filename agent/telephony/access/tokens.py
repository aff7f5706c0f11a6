"""One-time tokens for the media socket.

The webhook, whose signature was verified, hands a token to the provider; the provider gives it
back when it opens the media socket. Knowing the socket's address is not enough.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from agent.telephony.access.spent import Spent, SpentHere, TokenError

__all__ = ["LIFETIME", "TokenError", "Tokens"]

LIFETIME = 60.0
"""Seconds from the webhook's answer to the opened socket, at most."""

_NONCE = 12
_EXPIRY = 6
_MAC = 16
_LENGTH = 2 * (_EXPIRY + _NONCE + _MAC)


class Tokens:
    """Issues tokens and takes each back once.

    A token is 68 hexadecimal digits (Plivo's extra headers take letters and digits only): its
    expiry, a nonce, and an HMAC-SHA256 of both, the machine, the provider and the call's id, cut to
    128 bits (RFC 2104, section 5). Issued tokens are not stored. A spent token is remembered until
    it expires, so memory grows only with calls whose webhook was signed.

    Args:
        key: the secret of the HMAC, for servers that share it. None: a random key of this process.
        lifetime: seconds that a token lives, at most 60.
        machine: the machine at which its tokens are valid, by its own address; empty where servers
            that share the key have none, and then a token can be spent once at each.
        spent: remembers spent tokens; None: in this process.
    """

    def __init__(
        self,
        key: bytes | None = None,
        lifetime: float = LIFETIME,
        machine: str = "",
        spent: Spent | None = None,
    ) -> None:
        if not 0 < lifetime <= LIFETIME:
            raise ValueError(f"a token lives up to {LIFETIME:.0f} s, not {lifetime}")
        self._key = key or secrets.token_bytes(32)
        self._lifetime = lifetime
        self._machine = machine
        self._spent: Spent = SpentHere() if spent is None else spent

    def issue(self, call_id: str, now: float, provider: str = "") -> str:
        """Issue a token for one socket of the call.

        Args:
            call_id: the provider's own id of the call, as its media stream will name it.
            now: seconds, on the same clock as for ``spend``.
            provider: the provider at whose socket it is valid.
        """
        expiry = int((now + self._lifetime) * 1000).to_bytes(_EXPIRY, "big")
        head = expiry + secrets.token_bytes(_NONCE)
        return (head + self._mac(head, call_id, provider)).hex()

    def spend(self, token: str, call_id: str | None, now: float, provider: str = "") -> None:
        """Take the token back.

        Args:
            call_id: the id that the media stream gives; None where it gives no id.
            provider: the provider whose socket it is.

        Raises:
            TokenError: the token is forged, of another call, expired, or spent.
        """
        head, mac = _split(token)
        if not hmac.compare_digest(mac, self._mac(head, call_id or "", provider)):
            raise TokenError("the token is not of this server, or not for this call and provider")
        expires = int.from_bytes(head[:_EXPIRY], "big") / 1000
        if now >= expires:
            raise TokenError(f"the token has expired; sockets open within {self._lifetime:.0f} s")
        self._spent.add(head, expires, now)

    def _mac(self, head: bytes, call_id: str, provider: str) -> bytes:
        # Neither a machine nor a provider has a byte of zero: no two triples make the same bytes.
        what = f"{self._machine}\0{provider}\0{call_id}".encode(errors="surrogatepass")
        return hmac.new(self._key, head + what, hashlib.sha256).digest()[:_MAC]


def _split(token: str) -> tuple[bytes, bytes]:
    try:
        if len(token) != _LENGTH:
            raise ValueError
        raw = bytes.fromhex(token)
    except ValueError:
        raise TokenError("this is no token") from None
    if len(raw) * 2 != _LENGTH:
        raise TokenError("this is no token")
    return raw[: _EXPIRY + _NONCE], raw[_EXPIRY + _NONCE :]
