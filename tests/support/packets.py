"""Packets of hostile peers: SCTP with checksums that are right and contents that are not."""

import random
import struct

from google_crc32c import value as crc32c


def sctp(*chunks, tag=0, ports=(5000, 5000)):
    head = struct.pack("!HHL", *ports, tag)
    body = b"".join(chunks)
    return head + struct.pack("<L", crc32c(head + bytes(4) + body)) + body


def chunk(kind, value=b"", flags=0, length=None):
    length = 4 + len(value) if length is None else length
    return struct.pack("!BBH", kind, flags, length) + value + bytes(-len(value) % 4)


def parameter(kind, value=b"", length=None):
    length = 4 + len(value) if length is None else length
    return struct.pack("!HH", kind, length) + value + bytes(-len(value) % 4)


def init(*parameters, kind=1):
    return chunk(kind, struct.pack("!LLHHL", 1, 131072, 10, 10, 7) + b"".join(parameters))


def data(tsn, payload=b"x", stream=1, flags=3, protocol=51):
    return chunk(0, struct.pack("!LHHL", tsn % 2**32, stream, 0, protocol) + payload, flags)


def sack(tsn, *gaps, duplicates=()):
    value = struct.pack("!LLHH", tsn, 131072, len(gaps), len(duplicates))
    value += b"".join(struct.pack("!HH", *gap) for gap in gaps)
    return chunk(3, value + b"".join(struct.pack("!L", t) for t in duplicates))


def mutated(seed, packet):
    """``packet`` with a few bytes changed, cut or repeated."""
    draw = random.Random(seed)
    changed = bytearray(packet)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(changed)) if changed else 0
        match draw.randrange(4):
            case 0 if changed:
                changed[at] = draw.choice([0, 1, 255, draw.randrange(256)])
            case 1:
                changed = changed[:at]
            case 2:
                changed[at:at] = changed[at : at + draw.randint(1, 40)]
            case _:
                changed[at : at + 2] = draw.choice([b"\0\0", b"\xff\xff", b"\0\1"])
    return bytes(changed)
