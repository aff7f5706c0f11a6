"""Runs the clients of other projects against this server, and writes docs/clients.md.

make clients && python tests/clients/run.py [--write] [CLIENT ...]
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(HERE)]

from server import scripted_server  # noqa: E402

from agent.server.keys import new_key  # noqa: E402
from agent.server.tls import self_signed  # noqa: E402

ENVIRONMENTS = Path(os.environ.get("CLIENTS_DIR") or ROOT / ".clients")
TABLE = ROOT / "docs" / "clients.md"
BROWSERS = ("chromium", "chromium-browser")
CLIENT_SECONDS = 240.0
"""Seconds that all features of one client may take."""


@dataclass(frozen=True)
class Client:
    """A client of another project.

    Attributes:
        script: file in this folder that shows its features.
        environment: Python environment of `versions.toml`, or ``npm``.
        package: the package whose version the table names; empty: the script tells a version.
        page: module in this folder that a page of Chromium runs.
        tls: whether it speaks wss only.
        keys: whether the server needs a key.
    """

    script: str
    environment: str
    package: str = ""
    page: str = ""
    tls: bool = False
    keys: bool = False

    def command(self, address: str) -> list[str]:
        """The interpreter, the script and its arguments."""
        if self.page:
            return [sys.executable, str(HERE / self.script), address, self.page]
        if self.environment == "npm":
            return ["node", str(HERE / self.script), address]
        python = ENVIRONMENTS / self.environment / "bin" / "python"
        return [str(python), str(HERE / self.script), address]

    @property
    def installed(self) -> bool:
        """Whether its environment was built."""
        if self.page and not (os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS))):
            return False
        if self.environment == "npm":
            return (ENVIRONMENTS / "npm" / "node_modules" / self.package).is_dir()
        return (ENVIRONMENTS / self.environment / ".built").is_file()


CLIENTS = {
    "openai-py": Client("openai_py.py", "openai", "openai[realtime]"),
    "openai-agents (Python)": Client("openai_agents.py", "openai", "openai-agents"),
    "openai-agents (Twilio example)": Client("twilio_bridge.py", "openai", "openai-agents"),
    "openai (npm)": Client("openai_npm.mjs", "npm", "openai", tls=True),
    "@openai/agents-realtime": Client("agents_realtime.mjs", "npm", "@openai/agents-realtime"),
    "livekit-plugins-openai": Client("livekit_plugin.py", "livekit", "livekit-plugins-openai"),
    "pipecat": Client("pipecat_service.py", "pipecat", "pipecat-ai[openai]"),
    "litellm": Client("litellm_proxy.py", "litellm", "litellm"),
    "tau2-bench's voice harness": Client("tau_voice.py", "openai"),
    "aiortc": Client("aiortc_call.py", "aiortc", "aiortc", keys=True),
    "openai-py (Azure)": Client("azure_openai.py", "openai", "openai[realtime]", keys=True),
    "azure-ai-voicelive": Client(
        "voice_live.py", "azure", "azure-ai-voicelive[aiohttp]", keys=True
    ),
    "semantic-kernel": Client(
        "semantic_kernel_client.py", "azure", "semantic-kernel", tls=True, keys=True
    ),
    "strands-agents": Client("strands_agent.py", "strands", "strands-agents[bidi-openai]"),
    "openai-realtime-api (npm)": Client("realtime_api_npm.mjs", "npm", "openai-realtime-api"),
    "@mastra/voice-openai-realtime": Client(
        "mastra_voice.mjs", "npm", "@mastra/voice-openai-realtime"
    ),
    "@livekit/agents-plugin-openai": Client(
        "livekit_node.mjs", "npm", "@livekit/agents-plugin-openai"
    ),
    "@openai/agents-realtime (WebRTC in Chromium)": Client(
        "chromium.py", "npm", "@openai/agents-realtime", "page_agents.mjs", keys=True
    ),
    "Chromium's RTCPeerConnection": Client("chromium.py", "npm", page="page_plain.mjs", keys=True),
}


@dataclass
class Results:
    """What one client showed.

    Attributes:
        problems: the problem of each feature; None where it works.
        output: the script's output without the lines of results.
        code: the exit code of the script.
        version: the version that the script told.
    """

    problems: dict[str, str | None] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)
    code: int | None = None
    version: str = ""


async def run(client: Client) -> Results:
    """Run one client against a new server."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = self_signed(Path(folder)) if client.tls else (None, None)
        api_key, digest = new_key() if client.keys else ("none", None)
        async with scripted_server(certificate, key, digest) as address:
            environment = {**os.environ, "PYTHONPATH": str(HERE), "OPENAI_API_KEY": api_key}
            environment["NODE_PATH"] = str(ENVIRONMENTS / "npm" / "node_modules")
            environment["CLIENTS_NODE_MODULES"] = environment["NODE_PATH"]
            if certificate is not None:
                environment["NODE_EXTRA_CA_CERTS"] = str(certificate)
                environment["SSL_CERT_FILE"] = str(certificate)
            process = await asyncio.create_subprocess_exec(
                *client.command(address),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            return await _results(process)


async def _results(process: asyncio.subprocess.Process) -> Results:
    results = Results()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            async for line in process.stdout:
                text = line.decode("utf-8", "replace").rstrip()
                if text.startswith("RESULT "):
                    shown = json.loads(text.removeprefix("RESULT "))
                    results.problems[shown["feature"]] = shown["problem"]
                elif text.startswith("VERSION "):
                    results.version = text.removeprefix("VERSION ")
                else:
                    results.output.append(text)
            results.code = await process.wait()
    except TimeoutError:
        process.kill()
        results.code = await process.wait()
    return results


def versions() -> Mapping[str, str]:
    """The pinned version of each package."""
    pinned = tomllib.loads((HERE / "versions.toml").read_text())
    packages: list[list[str]] = []
    for environment in pinned["python"].values():
        packages += [package.split("==") for package in environment["packages"]]
    packages += [package.rsplit("@", 1) for package in pinned["npm"]["packages"]]
    return dict(packages)


def table(results: Mapping[str, Results]) -> str:
    """The page docs/clients.md."""
    known = versions()
    features = list(dict.fromkeys(name for r in results.values() for name in r.problems))
    head = "| client | version | " + " | ".join(features) + " |"
    rows = []
    for name, result in results.items():
        cells = [_cell(result, feature) for feature in features]
        version = known.get(CLIENTS[name].package, result.version)
        rows.append(f"| {name} | {version} | " + " | ".join(cells) + " |")
    problems = [
        f"- {name}, {feature}: {problem.splitlines()[0][:200]}"
        for name, result in results.items()
        for feature, problem in result.problems.items()
        if problem
    ]
    return "\n".join(
        [
            "# Realtime clients",
            "",
            "Clients of other projects, run unchanged against this server: only the address is",
            "another. `make clients` builds their environments with the versions of",
            "`tests/clients/versions.toml`; `python tests/clients/run.py --write` runs them and",
            f"wrote this page on {datetime.date.today()}. The server's engines are scripted.",
            "",
            head,
            "|" + "---|" * (len(features) + 2),
            *rows,
            "",
            "yes: it works; **no**: it does not; an empty cell: it was not tried with this client.",
            *(["", "What does not work:", "", *problems] if problems else []),
            "",
        ]
    )


def _cell(result: Results, feature: str) -> str:
    if feature not in result.problems:
        return ""
    return "yes" if result.problems[feature] is None else "**no**"


async def main() -> int:
    """Run the clients that were asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", help=", ".join(CLIENTS))
    parser.add_argument("--write", action="store_true", help="write docs/clients.md")
    chosen = parser.parse_args()
    results = {}
    for name in chosen.clients or CLIENTS:
        if not CLIENTS[name].installed:
            print(f"{name}: its environment is not built; run make clients")
            continue
        results[name] = result = await run(CLIENTS[name])
        for feature_name, problem in result.problems.items():
            print(f"{name}: {feature_name}: {problem or 'works'}")
        if result.code or not result.problems or any(result.problems.values()):
            print("\n".join(result.output[-60:]))
    if chosen.write:
        TABLE.write_text(table(results), encoding="utf-8")
    bad = [r for r in results.values() if r.code or not r.problems or any(r.problems.values())]
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
