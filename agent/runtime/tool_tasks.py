"""The functions of this server that run for one call: commands in, their results out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from agent.session.commands import RunTool, StopTool, ToolTask
from agent.session.events import Input, ToolReturned
from agent.tools.toolbox import Toolbox


class ToolTasks:
    """The running functions of one call, as asyncio tasks.

    Args:
        toolbox: runs the functions.
        line: the transport of the call, which some of them use.
        group: holds the tasks.
        post: takes the results, as inputs of the session.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        line: object,
        group: asyncio.TaskGroup,
        post: Callable[[Input], None],
    ) -> None:
        self._toolbox = toolbox
        self._line = line
        self._group = group
        self._post = post
        self._running: dict[str, asyncio.Task[None]] = {}

    def do(self, task: ToolTask) -> None:
        """Begin or cancel the work of a command."""
        match task:
            case RunTool():
                running = self._group.create_task(self._run(task))
                self._running[task.call_id] = running
                running.add_done_callback(lambda done: self._ended(task.call_id, done))
            case StopTool():
                if task.call_id in self._running:
                    self._running.pop(task.call_id).cancel()
            case _:
                assert_never(task)

    def _ended(self, call_id: str, task: asyncio.Task[None]) -> None:
        if self._running.get(call_id) is task:
            del self._running[call_id]

    async def _run(self, task: RunTool) -> None:
        done = await self._toolbox.run(task.name, task.arguments, self._line)
        self._post(ToolReturned(task.call_id, done.text, done.reply, done.leave, done.goodbye))

    def stop(self) -> None:
        """Cancel all that runs."""
        for task in list(self._running.values()):
            task.cancel()
