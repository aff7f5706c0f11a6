"""A headless Firefox, driven by the W3C's WebDriver BiDi over its websocket; no driver program."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from support.node import lacking

PREFERENCES = {
    "media.autoplay.default": 0,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
START_SECONDS = 120.0
ANSWER_SECONDS = 90.0


class Firefox:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._count = 0
        self._tab = ""

    async def begin(self, preload: str) -> None:
        """Start a session whose pages run ``preload`` before their own scripts."""
        await self._do("session.new", capabilities={})
        tree = await self._do("browsingContext.getTree")
        self._tab = tree["contexts"][0]["context"]
        await self._do("script.addPreloadScript", functionDeclaration=f"() => {{ {preload} }}")

    async def open(self, url: str) -> None:
        await self._do("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise awaited, by way of JSON."""
        answer = await self._do(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._tab},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        text = answer["result"].get("value")
        return None if text is None else json.loads(text)

    async def until(self, expression: str, seconds: float = ANSWER_SECONDS) -> None:
        """Wait until the expression is true."""
        async with asyncio.timeout(seconds):
            while not await self.evaluate(expression):  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)

    async def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        await self._connection.send(json.dumps(command))
        async with asyncio.timeout(ANSWER_SECONDS):
            while (answer := json.loads(await self._connection.recv())).get("id") != self._count:
                continue  # an event that nobody asked for
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result


@contextmanager
def silent_speaker(folder: Path) -> Iterator[dict[str, str]]:
    """A sound server that plays into nothing, without which Firefox starts no sound here.

    Gives the environment by which programs find it.
    """
    path = shutil.which("pulseaudio")
    if path is None:
        lacking("there is no pulseaudio (Debian: apt-get install pulseaudio)", needed=False)
    socket = folder / "pulse"
    protocol = f"module-native-protocol-unix socket={socket} auth-anonymous=1"
    options = ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
    command = [path, *options, "--load=module-null-sink", f"--load={protocol}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            yield {"PULSE_SERVER": f"unix:{socket}"}
        finally:
            server.terminate()


@asynccontextmanager
async def firefox(profile: Path, preload: str, sound: Mapping[str, str]) -> AsyncIterator[Firefox]:
    """Start one with a fresh profile.

    Args:
        preload: a script that pages run before their own.
        sound: what `silent_speaker` gave.
    """
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    if path is None:
        lacking("there is no firefox (Debian: apt-get install firefox-esr)", needed=False)
    lines = [f'user_pref("{key}", {json.dumps(value)});' for key, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        *(path, "--headless", "--no-remote", "--profile", str(profile)),
        *("--remote-debugging-port", "0"),
        env={**os.environ, **sound},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with connect(f"{await _address(process)}/session", max_size=None) as connection:
            tab = Firefox(connection)
            await tab.begin(preload)
            yield tab
    finally:
        process.terminate()
        await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(START_SECONDS):
        async for line in process.stderr:
            if found := re.search(r"listening on (ws://\S+)", line.decode()):
                return found[1]
    raise RuntimeError("Firefox ended before it listened")
