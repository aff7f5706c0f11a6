"""The files in deploy/: their settings exist, their times fit together, their tools accept them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from agent.config.settings import Settings
from agent.config.sources import load_settings
from agent.runtime.calls import CLOSE_SECONDS, GOODBYE_SECONDS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "onebreath"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "systemd" / "onebreath.service").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = {file.name: file.read_text() for file in (CHART / "templates").iterdir()}
END = GOODBYE_SECONDS + CLOSE_SECONDS
"""Seconds that a server needs at most after server.drain_seconds."""


def settings_of(environment, monkeypatch, tmp_path):
    """The settings with these variables, without a file; unknown ones are errors."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ONEBREATH_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if name.startswith("ONEBREATH_") and name != "ONEBREATH_CONFIG":
            monkeypatch.setenv(name, value)
    return load_settings()


# ---- container -----------------------------------------------------------------------------


def test_the_image_copies_what_there_is_and_what_its_ignore_file_lets_in():
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in let_in


def test_the_image_runs_as_nobody_in_particular_and_asks_its_own_health_port(monkeypatch, tmp_path):
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.M)
    assert "--uid 10001" in last
    named = dict(re.findall(r"(ONEBREATH_\w+)=(\S+)", last))
    settings = settings_of(named, monkeypatch, tmp_path)
    assert f"127.0.0.1:{settings.server.health_port}/healthz" in last
    assert f"EXPOSE {settings.server.port} {settings.server.health_port}" in last


def test_compose_gives_calls_time_to_finish_and_mounts_files_that_are_there(monkeypatch, tmp_path):
    service = COMPOSE["services"]["onebreath"]
    drain = load_settings(file=DEPLOY / "onebreath.toml").server.drain_seconds
    assert int(service["stop_grace_period"].removesuffix("m")) * 60 >= drain + END
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    for each in COMPOSE["services"].values():
        for volume in each.get("volumes", []):
            if volume.startswith("."):
                assert (DEPLOY / volume.split(":")[0]).is_file()
    settings = settings_of(service["environment"], monkeypatch, tmp_path)
    upstream = COMPOSE["services"]["caddy"]["environment"]["ONEBREATH_UPSTREAM"]
    assert upstream == f"{settings.server.host}:{settings.server.port}"


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_caddy_takes_its_file():
    subprocess.run(
        ["caddy", "validate", "--config", "Caddyfile", "--adapter", "caddyfile"],
        cwd=DEPLOY,
        check=True,
        capture_output=True,
    )


# ---- systemd -------------------------------------------------------------------------------


def test_systemd_gives_calls_time_to_finish_and_does_not_repeat_a_mistake(monkeypatch, tmp_path):
    minutes = int(re.search(r"^TimeoutStopSec=(\d+)min$", UNIT, re.M).group(1))
    assert minutes * 60 >= Settings().server.drain_seconds + END
    assert "RestartPreventExitStatus=2" in UNIT
    assert "KillMode=mixed" in UNIT
    variables = dict(re.findall(r"^Environment=(\w+)=(\S+)$", UNIT, re.M))
    settings_of(variables, monkeypatch, tmp_path)


def test_systemd_lets_computations_see_their_processor_and_place_their_threads():
    """Without it torch runs with no vector instructions, or is killed at its first thread."""
    assert "ProcSubset" not in re.sub(r"^#.*$", "", UNIT, flags=re.M)
    denied, *allowed = re.findall(r"^SystemCallFilter=(?!@)(.*)$", UNIT, re.M)
    assert denied.startswith("~")
    assert allowed == ["sched_setaffinity mbind"]
    assert "\nSystemCallErrorNumber=EPERM\n" in UNIT


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit_and_finds_it_hardened(tmp_path):
    unit = tmp_path / "onebreath.service"
    unit.write_text(UNIT.replace("/opt/onebreath/bin/onebreath", shutil.which("true")))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout  # exposure of at most 2.0


# ---- the chart -----------------------------------------------------------------------------


def problems(**changed):
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors({**VALUES, **changed})]


def test_the_charts_own_values_are_valid_and_all_described():
    Draft7Validator.check_schema(SCHEMA)
    assert not problems()
    assert set(SCHEMA["properties"]) == {*VALUES, "global"}


@pytest.mark.parametrize(
    "changed",
    [
        {"replicas": 0},
        {"replica": 2},
        {"podHost": "voice.example.com"},
        {"sharedKey": {"value": "short"}},
        {"settings": {"server": {"port": 80}}},
        {"settings": {"server": {"shared_key": "x" * 32}}},
        {"workers": 65},
        {"ingress": {"tls": True}},
    ],
)
def test_mistakes_in_values_are_found(changed):
    assert problems(**changed)


def test_the_charts_variables_are_settings():
    named = set(re.findall(r"name: (ONEBREATH_\w+)", TEMPLATES["statefulset.yaml"]))
    assert len(named) >= 8
    for name in named - {"ONEBREATH_CONFIG"}:
        section, _, field = name.removeprefix("ONEBREATH_").lower().partition("__")
        assert field in type(getattr(Settings(), section)).model_fields


def test_the_charts_settings_are_settings_also_as_numbers_of_helm():
    """Helm writes every number of values.yaml as a float."""
    as_helm = json.loads(json.dumps(VALUES["settings"]), parse_int=float)
    server = Settings(**as_helm).server
    assert (server.max_calls, server.drain_seconds) == (4, 600.0)


def test_a_pod_has_time_for_its_calls():
    grace = re.search(r"default (\d+)\)\) (\d+) -", TEMPLATES["_helpers.tpl"])
    assert float(grace[1]) == Settings().server.drain_seconds
    stopped_after = int(
        re.search(r"command: \[sleep, \"(\d+)\"\]", TEMPLATES["statefulset.yaml"])[1]
    )
    assert int(grace[2]) >= stopped_after + END


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
@pytest.mark.parametrize(
    "more", [[], ["--set", "ingress.enabled=false,workers=2,hostNetwork=true"]]
)
def test_helm_takes_the_chart(more):
    subprocess.run(["helm", "lint", "--strict", str(CHART), *more], check=True, capture_output=True)
    rendered = subprocess.run(
        ["helm", "template", "voice", str(CHART), *more], check=True, capture_output=True, text=True
    )
    kinds = [found["kind"] for found in yaml.safe_load_all(rendered.stdout) if found]
    assert {"StatefulSet", "Service", "PodDisruptionBudget", "Secret", "ConfigMap"} <= set(kinds)
