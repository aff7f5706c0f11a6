"""A worker without engines, for tests of its parent: it answers each connection with its name.

Run as ``python fake_worker.py CHANNEL NAME MODE``; MODE is serve, mistake (exit 2 at once), silent
(one report, then none) or stubborn (it does not end at SIGTERM).
"""

import contextlib
import json
import select
import signal
import socket
import sys
import time

channel, name, mode = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3]
reloads = 0


def reload(*_):
    global reloads
    reloads += 1


signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: sys.exit(0))
if mode == "mistake":
    sys.exit(2)

left = int.from_bytes(channel.recv(4), "little")
while left:
    left -= len(channel.recv(left))

calls = 0
last = 0.0
while True:
    if time.monotonic() - last > 0.05 and not (mode == "silent" and last):
        report = {"calls": calls, "max_calls": 8, "status": "ready", "reason": ""}
        with contextlib.suppress(OSError):
            channel.sendall(json.dumps(report).encode() + b"\n")
        last = time.monotonic()
    if not select.select([channel], [], [], 0.02)[0]:
        continue
    kind, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if not kind:
        sys.exit(0)
    with socket.socket(fileno=descriptors[0]) as connection:
        asked = connection.recv(16)
        connection.sendall(f"{name} {reloads}".encode())
        if asked == b"die":
            sys.exit(3)
        calls += asked == b"call"
