"""One reply in text, the canvas shown while it is denoised."""

from __future__ import annotations

from contextlib import nullcontext

from rich.console import Console
from rich.live import Live

from agent.reply import CanvasStep, Message, ReplyDone, ReplyText
from agent.responders.base import Responder, ResponderError
from agent.view import canvas_view


def answer(engine: Responder, instructions: str, text: str, console: Console | None) -> ReplyDone:
    """Answer ``text``; with a console the canvas is drawn live."""
    call = engine.open()
    messages = [Message("system", instructions), Message("user", text)]
    said = ""
    steps: list[CanvasStep] = []
    view = Live(console=console, auto_refresh=False) if console is not None else nullcontext()
    with view as live:
        for piece in call.reply(messages):
            match piece:
                case CanvasStep():
                    steps.append(piece)
                case ReplyText():
                    said += piece.text
                case ReplyDone():
                    call.close()
                    return piece
            if live is not None:
                live.update(canvas_view(said, steps), refresh=True)
    raise ResponderError("the responder ended without a complete reply")
