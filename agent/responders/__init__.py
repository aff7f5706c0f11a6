"""Responders by name. A third party's own is given as ``package.module:Class``."""

from agent.responders.base import Responder, ResponderCall, ResponderError, WaitingCall

RESPONDERS = {
    "ab": "agent.responders.ab:AbResponder",
    "autoregressive": "agent.responders.autoregressive:AutoregressiveResponder",
    "diffusion": "agent.responders.diffusion:DiffusionResponder",
    "diffusion-gemma": "agent.responders.diffusion_gemma:DiffusionGemmaResponder",
    "hosted": "agent.responders.hosted:HostedResponder",
    "ray": "agent.responders.ray:RayResponder",
    "scripted": "agent.responders.scripted:ScriptedResponder",
}

__all__ = ["RESPONDERS", "Responder", "ResponderCall", "ResponderError", "WaitingCall"]
