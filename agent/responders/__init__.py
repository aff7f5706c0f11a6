"""Responders by name. A third party's own is given as ``package.module:Class``."""

from agent.responders.base import Responder, ResponderCall, ResponderError

RESPONDERS = {
    "diffusion": "agent.responders.diffusion:DiffusionResponder",
    "diffusion-gemma": "agent.responders.diffusion_gemma:DiffusionGemmaResponder",
    "scripted": "agent.responders.scripted:ScriptedResponder",
}

__all__ = ["RESPONDERS", "Responder", "ResponderCall", "ResponderError"]
