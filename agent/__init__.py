"""Onebreath's voice agent: calls, turns and replies, around engines for speech and language.

The packages, in the order of the data's flow:

- ``server``: the page, the WebSocket, WebRTC offers and health checks on one port
- ``transports``: WebSocket and WebRTC lines to a client
- ``telephony``: lines of telephone providers and of Asterisk, as transports
- ``protocol``: the wire protocol, as pure functions
- ``runtime``: the runner of a call, the engines and their tasks
- ``audio``: samples, resampling, voice activity, echo, the turn model
- ``turn_taking``: rules about the start and the end of a turn (pure)
- ``session``: the conversation of a call, events in and commands out (pure)
- ``responders``: generators of replies: local and hosted models, Ray Serve, A/B tests
- ``config``: all settings, from file, environment and flags
- ``models``: the catalogue of default models and their store
- ``questions``, ``doctor``: bundled spoken questions, checks of the machine
- ``latency``, ``bench``: measured calls and their reports, benchmarks
- ``cli``: the command line, ``onebreath --help``

The modules ``compute``, ``reply``, ``timing`` and ``errors`` are shared by all packages.
"""

import os

# The official builds of ONNX Runtime report to their maker, unless this is set before they start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
