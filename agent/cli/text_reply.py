"""One reply in text, the canvas shown while it is denoised."""

from __future__ import annotations

from contextlib import nullcontext

from rich.console import Console
from rich.live import Live

from agent.cli.tables import canvas_view
from agent.reply import CanvasStep, Message, ReplyDone, ReplyText
from agent.responders.base import ResponderError, WaitingCall


async def answer(
    call: WaitingCall, instructions: str, text: str, console: Console | None
) -> ReplyDone:
    """Answer ``text``; with a console the canvas is drawn live."""
    messages = [Message("system", instructions), Message("user", text)]
    said = ""
    steps: list[CanvasStep] = []
    view = Live(console=console, auto_refresh=False) if console is not None else nullcontext()
    try:
        with view as live:
            async for piece in call.reply(messages):
                match piece:
                    case CanvasStep():
                        steps.append(piece)
                    case ReplyText():
                        said += piece.text
                    case ReplyDone():
                        return piece
                if live is not None:
                    live.update(canvas_view(said, steps), refresh=True)
    finally:
        await call.close()
    raise ResponderError("the responder ended without a complete reply")
