"""Candidates that a client sends after its offer (trickle ICE, RFC 8840). Pure.

The fragment is lines of SDP: credentials, and for each media section ``m=``, ``a=mid:`` and
candidates; WHIP (RFC 9725) sends it as ``application/trickle-ice-sdpfrag``.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

from agent.errors import OnebreathError

MAX_LINES = 512
MAX_PORT = 65_535


class BadFragment(OnebreathError):
    """A fragment that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class IceFragment:
    """What a client says of its candidates.

    Attributes:
        username: ICE user name of the client; None: it is not named.
        candidates: of UDP, in order, each with its section's ``sdpMid`` or ``sdpMLineIndex``.
            That there are no more (``a=end-of-candidates``) changes nothing.
    """

    username: str | None
    candidates: tuple[RTCIceCandidate, ...]

    @classmethod
    def parse(cls, text: str) -> IceFragment:
        """Read a fragment; lines that say nothing of candidates are passed over.

        Raises:
            BadFragment: it has too many lines, or a candidate that cannot be read.
        """
        lines = text.splitlines()
        if len(lines) > MAX_LINES:
            raise BadFragment(f"the fragment has {len(lines)} lines; {MAX_LINES} are allowed")
        username, section, mid = None, -1, None
        candidates: list[RTCIceCandidate] = []
        for line in lines:
            name, _, value = line.strip().partition(":")
            if line.startswith("m="):
                section, mid = section + 1, None
            elif name == "a=mid":
                mid = value
            elif name == "a=ice-ufrag":
                username = value
            elif name == "a=candidate" and (found := _candidate(value)) is not None:
                found.sdpMid = mid
                found.sdpMLineIndex = max(0, section) if mid is None else None
                candidates.append(found)
        return cls(username, tuple(candidates))


def _candidate(value: str) -> RTCIceCandidate | None:
    """A candidate; None for one of TCP, which the server has no use for."""
    try:
        candidate = candidate_from_sdp(value)
    except Exception as error:  # at bad text the parser raises every kind of error
        raise BadFragment(f"a candidate cannot be read: {value[:80]!r} ({error!r})") from None
    if not has_port(candidate):
        raise BadFragment(f"a candidate has no port from 0 to {MAX_PORT}: {value[:80]!r}")
    return candidate if candidate.protocol.lower() == "udp" else None


def has_port(candidate: RTCIceCandidate) -> bool:
    """Whether its port is one: a socket that is to send to another closes, with its call."""
    return 0 <= candidate.port <= MAX_PORT
