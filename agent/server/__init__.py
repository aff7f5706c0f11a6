"""The HTTP server of the agent: pages, health and metrics, the websocket of the Realtime
protocol, and offers of WebRTC calls.
"""
