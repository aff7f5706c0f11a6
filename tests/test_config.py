import inspect
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from agent.cli.console import settings_from
from agent.config.settings import Settings
from agent.config.sources import load_settings
from agent.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "onebreath.example.toml"


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("ONEBREATH_CONFIG", "ONEBREATH_MODELS"):
        monkeypatch.delenv(name, raising=False)


def write(path, text):
    path.write_text(text)
    return path


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path, monkeypatch):
    file = write(tmp_path / "my.toml", "[server]\nport = 1\nmax_calls = 2\nhost = 'a'\n")
    monkeypatch.setenv("ONEBREATH_SERVER__PORT", "3")
    monkeypatch.setenv("ONEBREATH_SERVER__MAX_CALLS", "5")
    settings = load_settings({"server": {"port": 7, "host": None}}, file)
    assert (settings.server.port, settings.server.max_calls, settings.server.host) == (7, 5, "a")
    assert settings.turns.endpoint_delay == 0.8


def test_the_file_in_the_working_directory_is_taken(tmp_path, monkeypatch):
    write(tmp_path / "onebreath.toml", "log_level = 'debug'")
    assert load_settings().log_level == "debug"
    monkeypatch.setenv("ONEBREATH_CONFIG", str(write(tmp_path / "b.toml", "log_level = 'error'")))
    assert load_settings().log_level == "error"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", "server.prot: no such setting"),
        ("sever = 1", "sever: no such setting"),
        ("[server]\nport = 'x'", "server.port: .*'x'"),
        ("[server]\nport = 99999", "server.port"),
        ("[turns\n", "not valid TOML"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_settings(file=write(tmp_path / "x.toml", text))


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(file=tmp_path / "none.toml")


def test_mistakes_in_the_environment_are_named(monkeypatch):
    monkeypatch.setenv("ONEBREATH_SERVER__PROT", "1")
    with pytest.raises(ConfigError, match=r"server\.prot"):
        load_settings()
    monkeypatch.delenv("ONEBREATH_SERVER__PROT")
    monkeypatch.setenv("ONEBREATH_SEVER__PORT", "1")
    with pytest.raises(ConfigError, match="ONEBREATH_SEVER__PORT is no setting"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", r"did you mean server\.port\?.*file .*x\.toml"),
        ("sever = 1", r"did you mean server\?"),
        ("endpoint_delay = 1", r"did you mean turns\.endpoint_delay\?"),
        ("[responder]\nport = 1", r"did you mean server\.port\?"),
        ("[server]\nport = 'x'", r"\(file .*x\.toml\)"),
        ("[responder.arms.a]\nweigth = 1", r"responder\.arms\.a\.weigth.*did you mean .*weight"),
        ("[xyzzy]\na = 1", r"xyzzy: no such setting \(file"),
    ],
)
def test_the_nearest_key_and_the_file_are_named(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as error:
        load_settings(file=write(tmp_path / "x.toml", text))
    assert "\n" not in str(error.value)


def test_the_variable_and_the_flag_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEBREATH_SERVER__PORT", "many")
    with pytest.raises(ConfigError, match="environment variable ONEBREATH_SERVER__PORT"):
        load_settings()
    with pytest.raises(ConfigError, match=r"server\.port.*command line"):
        load_settings({"server": {"port": 99999}})
    monkeypatch.setenv("ONEBREATH_SERVR__PORT", "1")
    with pytest.raises(ConfigError, match=r"did you mean ONEBREATH_SERVER__PORT\?"):
        load_settings({"server": {"port": 1}})


def test_secrets_are_not_repeated(tmp_path):
    file = write(tmp_path / "x.toml", "[responder]\napi_key = 5\n[telephony]\nsecrets = 'abc'")
    with pytest.raises(ConfigError) as error:
        load_settings(file=file)
    assert "abc" not in str(error.value)


def test_the_example_shows_every_setting_with_its_default():
    example = tomllib.loads(EXAMPLE.read_text())
    assert load_settings(file=EXAMPLE) == Settings()
    for name in Settings.model_fields:
        section = getattr(Settings(), name)
        if isinstance(section, BaseModel):
            named = set(example[name]) | set(_commented(name))
            assert named == set(type(section).model_fields), name


def _commented(section):
    """Keys of a section that stand behind a comment sign: those whose default is "not set"."""
    inside = False
    for line in EXAMPLE.read_text().splitlines():
        if line.startswith("["):
            inside = line.startswith(f"[{section}]")
        elif line.startswith(f"# [{section}."):
            inside = False
            yield line.partition(".")[2].rstrip("]")
        elif inside and line.startswith("# ") and "=" in line:
            yield line[2:].split("=")[0].strip()


def test_a_key_is_in_no_message_and_no_print(monkeypatch):
    with pytest.raises(ConfigError) as caught:
        load_settings({"responder": {"api_key": ["sk-secret"]}})
    assert "api_key" in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    monkeypatch.setenv("ONEBREATH_RESPONDER__ARMS__MERCURY__API_KEY", "sk-secret")
    arm = load_settings({"responder": {"arms": {"mercury": {"weight": 1}}}}).responder.arms[
        "mercury"
    ]
    assert arm.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(arm)


def _sections(model):
    """A model of settings and all models below it."""
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _sections(part)


@pytest.mark.parametrize("model", dict.fromkeys(_sections(Settings)), ids=lambda m: m.__name__)
def test_help_describes_every_setting(model):
    own = set(model.__annotations__) - {"model_config"}
    described = re.findall(r"^    (\w+): \S", inspect.getdoc(model) or "", re.MULTILINE)
    assert set(described) == own & set(model.model_fields)
    assert "Attributes:" in (model.__doc__ or "")


HOSTED = """
[responder]
engine = "hosted"
base_url = "https://collector.example/v1"
[responder.arms.a]
base_url = "https://collector.example/v1"
"""


@pytest.mark.parametrize("variable", ["RESPONDER__API_KEY", "RESPONDER__ARMS__A__API_KEY"])
def test_a_file_that_was_only_found_gets_no_key(tmp_path, monkeypatch, variable):
    """Whoever writes onebreath.toml into a directory would have the key of its visitors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "onebreath.toml").write_text(HOSTED.replace(".a]", ".a]\nweight = 1"))
    load_settings()  # without a key, there is nothing to lose
    monkeypatch.setenv(f"ONEBREATH_{variable}", "sk-secret")
    with pytest.raises(ConfigError, match="name the file"):
        load_settings()
    named = load_settings(file=tmp_path / "onebreath.toml")
    assert named.responder.base_url == "https://collector.example/v1"
    monkeypatch.setenv("ONEBREATH_CONFIG", "onebreath.toml")
    load_settings()
    monkeypatch.delenv("ONEBREATH_CONFIG")
    monkeypatch.setenv(
        f"ONEBREATH_{variable}".replace("API_KEY", "BASE_URL"), "https://mine.example"
    )
    load_settings()  # the key goes where the environment says


def test_a_file_that_was_only_found_is_named_aloud(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "onebreath.toml").write_text("[server]\nport = 9000\n")
    settings_from(None)
    assert "onebreath.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        '[[webrtc.ice_servers]]\nurls = "turn:t.example"\ncredential = 53215',
        '[[webrtc.ice_servers]]\nurls = "turn:u:53215@t.example?x"',
        '[webrtc]\nice_servers = "53215"',
        "[responder]\napi_key = 53215",
        '[responder]\nrequest = "53215"',
        "[responder]\nbase_url = 53215",
    ],
)
def test_a_mistyped_secret_is_not_repeated(tmp_path, text):
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file=file)
    assert "53215" not in str(caught.value)


def test_the_credential_of_a_turn_server_is_in_no_print():
    server = {"urls": "turn:t.example", "username": "u", "credential": "pa55"}
    assert "pa55" not in repr(Settings(webrtc={"ice_servers": [server]}))
