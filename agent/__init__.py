"""Onebreath's voice agent: calls, turns and replies, around engines for speech and language.

The rooms, in the order of the data's flow:

- ``server``: the page, the WebSocket, WebRTC offers and health checks on one port
- ``telephony``: lines of telephone providers and of Asterisk, as transports
- ``transports``: WebSocket and WebRTC lines to a client
- ``protocol``: the wire protocol, as pure functions
- ``audio``: samples, resampling, voice activity, echo, the turn model
- ``runtime``: the runner of a call, the engines and their tasks
- ``turn_taking``: rules about the start and the end of a turn (pure)
- ``session``: the conversation of a call, events in and commands out (pure)
- ``responders``: what generates a reply: local models, hosted ones, A/B tests
- ``models``: the catalogue of default models and their store
- ``config``: all settings, from file, environment and flags
- ``latency``: measured calls and their reports
- ``bench``, ``doctor``, ``questions``: benchmarks, checks of the machine, bundled questions
- ``cli``: the command line, ``onebreath --help``

``compute``, ``reply``, ``timing`` and ``errors`` are shared by all rooms.
"""
