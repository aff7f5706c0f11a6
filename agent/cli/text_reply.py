"""One reply in text, with the canvas shown while it is denoised."""

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
    """Answer ``text`` and close the call.

    Args:
        call: call of the responder.
        instructions: system prompt.
        text: words of the caller.
        console: console on which the canvas is drawn; None: nothing is drawn.

    Raises:
        ResponderError: the responder fails or ends early.
    """
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
