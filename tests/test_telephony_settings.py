"""Settings of telephony: secrets stay secret, mistakes are answered with what to set."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from uuid import uuid4

import pytest

from agent.config.sources import load_settings
from agent.config.telephony import TelephonySettings
from agent.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "onebreath.example.toml"
SECRET = "hunter2hunter2"
TWILIO = f'[telephony.twilio]\nauth_token = "{SECRET}"\n'


def load(tmp_path: Path, text: str) -> TelephonySettings:
    file = tmp_path / "onebreath.toml"
    file.write_text(text)
    return load_settings(file=file).telephony


def test_secrets_come_from_file_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = '[telephony]\npublic_url = "https://phone.example.com/"\n'
    settings = load(tmp_path, url + TWILIO)
    assert settings.twilio is not None
    assert settings.twilio.auth_token.get_secret_value() == SECRET
    assert settings.public_url == "https://phone.example.com"
    monkeypatch.setenv("ONEBREATH_TELEPHONY__TWILIO__AUTH_TOKEN", "from-the-environment")
    settings = load(tmp_path, url)
    assert settings.twilio is not None
    assert settings.twilio.auth_token.get_secret_value() == "from-the-environment"


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    settings = load(tmp_path, '[telephony]\npublic_url = "https://a.example"\n' + TWILIO)
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TWILIO, r"needs telephony\.public_url"),
        ('[telephony]\npublic_url = "phone.example.com"', "such as https://phone.example.com"),
        ('[telephony]\npublic_url = "http://phone.example.com"', "http is for this machine only"),
        ('[telephony]\npublic_url = "https://a.example/?x=1"', "such as https"),
        ('[telephony.twilio]\nauth_tokn = "x"', "auth_tokn: no such setting"),
        ("[telephony.twilio]", r"telephony\.twilio\.auth_token: Field required"),
        ('[telephony.vonage]\nsignature_secret = "short"', r"vonage\.signature_secret"),
        ('[telephony.telnyx]\npublic_key = "c2hvcnQ="', "copy the public key"),
        ('[telephony.telnyx]\npublic_key = "***"', "copy the public key"),
        ('[telephony.plivo]\nauth_token = "12345678"\nrate = 44100', "rate"),
        ('[telephony]\nrequire_token = false\npublic_url = "https://a.example"', "set it to true"),
        ("[telephony]\naudiosocket_port = 9092", "make one with uuidgen"),
        ('[telephony.asterisk]\nusername = ""\npassword = "12345678"', "username"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


def test_a_mistake_does_not_show_the_secret(tmp_path: Path) -> None:
    for text in (
        '[telephony.vonage]\nsignature_secret = "tiny777"',
        f'[telephony.twilio]\nauth_token = ["{SECRET}"]',
        f'[telephony]\ntwilio = "{SECRET}"',
    ):
        with pytest.raises(ConfigError) as refused:
            load(tmp_path, text)
        assert "tiny777" not in str(refused.value)
        assert SECRET not in str(refused.value)


def test_http_is_taken_for_this_machine(tmp_path: Path) -> None:
    text = '[telephony]\npublic_url = "http://127.0.0.1:8080"'
    assert load(tmp_path, text).public_url == "http://127.0.0.1:8080"


def test_the_commented_sections_of_the_example_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    example = EXAMPLE.read_text().partition("\n[telephony]")[2]
    filled = re.sub(r"^# ", "", "[telephony]" + example, flags=re.MULTILINE)
    filled = filled.replace('public_key = "..."', f'public_key = "{"A" * 43}="')
    filled = filled.replace('audiosocket_uuid = "..."', f'audiosocket_uuid = "{uuid4()}"')
    filled = filled.replace('"..."', '"something long enough"')
    settings = load(tmp_path, filled)
    assert tomllib.loads(filled)["telephony"].keys() == settings.model_fields_set
    assert settings.model_fields_set == set(TelephonySettings.model_fields)
