"""Transports of the Realtime protocol: audio and events over a websocket or WebRTC."""
