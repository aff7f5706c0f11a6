"""telephony-check against a running server: what is right, and what it says of each mistake."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from support.pbx import free_port
from support.telephony_providers import PROVIDERS, SECRET, UUID, telephony_server
from typer.testing import CliRunner

from agent.cli.main import app
from agent.config.settings import Settings
from agent.doctor.checks import Finding, Level
from agent.telephony.check.check import ServerAddress, check_telephony

HEARD = ["how are you"] * 10


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def changed(settings: Settings, **sections: Any) -> Settings:
    """The same settings, but for some sections of telephony."""
    telephony = {"public_url": settings.telephony.public_url, **PROVIDERS, **sections}
    return Settings.model_validate({"telephony": telephony, "server": settings.server})


@pytest.mark.slow
async def test_every_provider_is_called() -> None:
    telephony = {"audiosocket_port": free_port(socket.SOCK_STREAM), "audiosocket_uuid": UUID}
    async with telephony_server(*HEARD, telephony=telephony) as server:
        findings = by_name(await check_telephony(server.settings))
        # A pause within the question may be answered ahead and thrown away.
        assert len(server.responder.prompts) >= 8, findings
    for name in (*PROVIDERS, "audiosocket"):
        call = findings.pop(f"{name} call")
        assert call.level is (Level.WARNING if name == "telnyx" else Level.OK), call
        if name != "telnyx":
            assert "after the question" in call.detail
    assert {finding.level for finding in findings.values()} == {Level.OK}, findings


async def test_other_secrets_than_the_servers() -> None:
    only = {name: None for name in PROVIDERS if name != "twilio"}
    async with telephony_server(*HEARD) as server:
        wrong = changed(server.settings, **only, twilio={"auth_token": SECRET[::-1]})
        findings = by_name(await check_telephony(wrong))
    assert findings["twilio unsigned"].level is Level.OK
    assert findings["twilio webhook"].level is Level.PROBLEM
    assert "HTTP 403" in findings["twilio webhook"].detail
    assert "running server" in findings["twilio webhook"].advice
    assert "twilio call" not in findings


async def test_a_provider_that_the_server_does_not_serve() -> None:
    only = {name: None for name in PROVIDERS if name != "plivo"}
    async with telephony_server(*HEARD, telephony={"plivo": None}) as server:
        findings = by_name(await check_telephony(changed(server.settings, **only)))
    assert findings["plivo unsigned"].level is Level.PROBLEM
    assert "HTTP 404" in findings["plivo unsigned"].detail


async def test_a_wrong_password_for_asterisk() -> None:
    only = {name: None for name in PROVIDERS if name != "asterisk"}
    async with telephony_server(*HEARD) as server:
        wrong = changed(
            server.settings, **only, asterisk={"username": "agent", "password": SECRET[::-1]}
        )
        findings = by_name(await check_telephony(wrong))
    assert findings["asterisk call"].level is Level.PROBLEM
    assert "401" in findings["asterisk call"].detail


async def test_a_server_that_is_down() -> None:
    telephony = {"public_url": "http://127.0.0.1:9", **PROVIDERS}
    settings = Settings.model_validate({"telephony": telephony})
    findings = await check_telephony(settings)
    assert [finding.level for finding in findings] == [Level.OK, Level.PROBLEM]
    assert "onebreath serve" in findings[-1].advice


async def test_nothing_is_set_up() -> None:
    async with telephony_server(*HEARD) as server:
        findings = await check_telephony(
            Settings(server=server.settings.server), f"http://{server.address}"
        )
    assert findings[0].level is Level.PROBLEM
    assert "docs/telephony.md" in findings[0].advice


@pytest.mark.parametrize("command", ["telephony-check", "phone-check"])
def test_the_command_prints_a_table_and_fails(command: str, tmp_path: Any) -> None:
    config = tmp_path / "onebreath.toml"
    config.write_text(
        '[telephony]\npublic_url = "http://127.0.0.1:9"\n'
        f'[telephony.twilio]\nauth_token = "{SECRET}"\n'
    )
    done = CliRunner().invoke(app, [command, "--config", str(config), "--json"])
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["level"] for row in rows] == ["ok", "problem"]
    assert SECRET not in done.stdout


@pytest.mark.parametrize(
    ("place", "dialled"),
    [
        (ServerAddress("https://phone.example", True), "wss://voice-0.example/telephony/twilio"),
        (ServerAddress("http://127.0.0.1:8080"), "ws://127.0.0.1:8080/telephony/twilio"),
    ],
)
def test_a_server_of_several_is_dialled_at_its_own_address(place, dialled):
    assert place.socket("wss://voice-0.example/telephony/twilio") == dialled
