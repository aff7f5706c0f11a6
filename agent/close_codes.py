"""Close codes of the WebSocket protocol, with which every transport ends a call.

The numbers are those of RFC 6455, section 7.4.1, and of IANA's "WebSocket Close Code Number
Registry". A transport without close frames (WebRTC, AudioSocket) reads them as a reason.
"""

from __future__ import annotations

from typing import Final

NORMAL_CLOSURE: Final = 1000
"""The call came to its end."""
GOING_AWAY: Final = 1001
"""The client of a forwarded connection was lost; it did not hang up."""
PROTOCOL_ERROR: Final = 1002
"""The peer sent what its protocol does not allow."""
POLICY_VIOLATION: Final = 1008
"""The peer broke a limit, or may not call."""
INTERNAL_ERROR: Final = 1011
"""A fault of the server ended the call."""
SERVICE_RESTART: Final = 1012
"""The server is being stopped."""
TRY_AGAIN_LATER: Final = 1013
"""All lines are busy."""
RESUMED_ELSEWHERE: Final = 4001
"""The session goes on over another connection of its client."""
HANG_UPS: Final = frozenset({NORMAL_CLOSURE, 1005})
"""The codes with which a client means to end a call; 1005 is a close frame without a code."""
