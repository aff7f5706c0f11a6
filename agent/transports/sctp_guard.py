"""Checks of SCTP packets before aiortc parses them.

aiortc 1.16 walks parameters by their own lengths and does not look whether a length is at least
that of its header, so one parameter of length 0 makes it loop for ever (``decode_params``); it
counts through every number of a gap block; and it keeps every TSN that a peer leaves open. The
checks follow RFC 9260, sections 3.2 (chunks), 3.2.1 (parameters) and 3.3.4 (gap blocks).

Pure: bytes in, a verdict out.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

HEADER = 12
"""Bytes of a packet's common header."""
CHUNK_HEADER = 4
MAX_GAP_END = 4096
"""Packets after the acknowledged one that a gap block may name. The data channel holds at most
256 KiB unsent, some 220 packets."""
MAX_TSN_AHEAD = 2048
"""Packets ahead of the last one in order; the receive window of 1 MiB has room for 900."""
MAX_PARAMETERS = 64

DATA, INIT, INIT_ACK, SACK = 0, 1, 2, 3
HEARTBEAT, HEARTBEAT_ACK, ABORT, ERROR = 4, 5, 6, 9
SHUTDOWN, RECONFIG, FORWARD_TSN = 7, 130, 192
PARAMETERS_AT = {
    INIT: 16,
    INIT_ACK: 16,
    HEARTBEAT: 0,
    HEARTBEAT_ACK: 0,
    ABORT: 0,
    ERROR: 0,
    RECONFIG: 0,
}
"""First byte of the parameters in a chunk's value, for the chunks that have them."""
SHORTEST = {DATA: 13, SACK: 12, SHUTDOWN: 4, FORWARD_TSN: 4, INIT: 16, INIT_ACK: 16}
"""Bytes of a chunk's value, at least; a chunk of data has at least one byte."""
RECONFIG_SHORTEST = {13: 12, 16: 8, 17: 8}
"""Bytes of a re-configuration parameter's value, at least (RFC 6525, section 4)."""


def is_sound(packet: bytes, last_tsn: int | None) -> bool:
    """Whether aiortc can take ``packet``, an SCTP packet, without harm.

    Args:
        last_tsn: the last TSN that was received in order; packets far ahead of it are refused.
            None: the association is not set up, so that no data can come.
    """
    kinds = []
    for kind, value in _chunks(packet):
        if kind < 0 or not _chunk_is_sound(kind, value, last_tsn):
            return False
        kinds.append(kind)
    return bool(kinds) and (INIT not in kinds or len(kinds) == 1)


def _chunks(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """The chunks' types and values; a last type of -1 where the lengths do not fit."""
    at = HEADER
    while at + CHUNK_HEADER <= len(packet):
        kind, _, length = unpack_from("!BBH", packet, at)
        if length < CHUNK_HEADER or at + length > len(packet):
            yield -1, b""
            return
        yield kind, packet[at + CHUNK_HEADER : at + length]
        at += _padded(length)


def _chunk_is_sound(kind: int, value: bytes, last_tsn: int | None) -> bool:
    if len(value) < SHORTEST.get(kind, 0):
        return False
    if kind in PARAMETERS_AT and value:
        return _parameters_are_sound(value[PARAMETERS_AT[kind] :], kind == RECONFIG)
    if kind == SACK:
        return _gaps_are_sound(value)
    if kind == FORWARD_TSN:
        return len(value) % 4 == 0
    if kind == DATA:
        if last_tsn is None:
            return False
        (tsn,) = unpack_from("!L", value)
        ahead = (tsn - last_tsn) % 2**32
        return bool(ahead <= MAX_TSN_AHEAD or ahead >= 2**31)  # older ones are duplicates
    return True


def _parameters_are_sound(parameters: bytes, reconfig: bool) -> bool:
    at = count = 0
    while at + 4 <= len(parameters):
        kind, length = unpack_from("!HH", parameters, at)
        count += 1
        if length < 4 or at + length > len(parameters) or count > MAX_PARAMETERS:
            return False
        if reconfig and length - 4 < RECONFIG_SHORTEST.get(kind, 0):
            return False
        if reconfig and kind == 13 and length % 2:
            return False
        at += _padded(length)
    return True


def _gaps_are_sound(value: bytes) -> bool:
    """Whether gap blocks ascend, do not overlap and stay near, and all of them are there."""
    gaps, duplicates = unpack_from("!HH", value, 8)
    if len(value) < 12 + 4 * (gaps + duplicates):
        return False
    before = 0
    for index in range(gaps):
        start, end = unpack_from("!HH", value, 12 + 4 * index)
        if not before < start <= end <= MAX_GAP_END:
            return False
        before = end
    return True


def _padded(length: int) -> int:
    return length + -length % 4
