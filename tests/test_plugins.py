"""Engines of others: found, checked when they are loaded, and never the end of a call."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from agent.config.settings import Settings
from agent.errors import ConfigError
from agent.reply import Prefilled, ReplyDone
from agent.runtime import engine_names, plugins
from asr.transcript import Transcript


class Call:
    def prepare(self, messages):
        return Prefilled(0, 0, 0.0)

    def reply(self, messages, deadline=None):
        yield ReplyDone("", 1, 0, 0.0, 0.0)

    def close(self):
        pass


class Plain:
    rate = 16_000

    def open(self):
        return Call()

    def listen(self):
        return Utterance()

    def speak(self, text):
        yield

    def warm_up(self):
        pass

    def close(self):
        pass


class Utterance:
    def feed(self, samples):
        pass

    def hypothesis(self):
        return Transcript("", 0, False)

    finish = hypothesis

    def close(self):
        pass


class WithoutDeadline(Call):
    def reply(self, messages):
        yield


class OldReply(Plain):
    def open(self):
        return WithoutDeadline()


class Needy(Plain):
    def __init__(self, size):
        pass


class Failing(Plain):
    def open(self):
        raise KeyError("weights")


class SpeaksTwice(Plain):
    def speak(self, text, voice):
        yield


class Slow(Plain):
    rate = "16000"


class Listless(Plain):
    def listen(self):
        return None


HERE = {name: value for name, value in globals().items() if isinstance(value, type)}


@pytest.fixture(autouse=True)
def module(monkeypatch):
    made = ModuleType("their_engines")
    vars(made).update(HERE, number=3)
    monkeypatch.setitem(sys.modules, "their_engines", made)


@pytest.mark.parametrize("part", [plugins.RESPONDER, plugins.RECOGNISER, plugins.VOICE])
def test_a_whole_engine_passes(part):
    assert isinstance(plugins.made(part, "their_engines:Plain"), Plain)


@pytest.mark.parametrize(
    ("part", "name", "said"),
    [
        (plugins.RESPONDER, "their_engines:OldReply", r"reply\(messages\) cannot be called as"),
        (plugins.RESPONDER, "their_engines:Call", r"no method open\(\).*responders/base.py"),
        (plugins.RESPONDER, "their_engines:Needy", r"without arguments.*size"),
        (plugins.RESPONDER, "their_engines:Failing", r"open\(\) raises KeyError"),
        (plugins.RESPONDER, "their_engines:number", "is no class"),
        (plugins.RESPONDER, "their_engines:Missing", "no attribute 'Missing'"),
        (plugins.RESPONDER, "no_such_module:Class", "no module 'no_such_module'.*PYTHONPATH"),
        (plugins.RESPONDER, "./own/engine.py:Mine", r"such as own\.engine:Mine$"),
        (plugins.RESPONDER, "their_engines.deeper:Class", "no module|not installed|not a package"),
        (plugins.RESPONDER, "json:JSONDecoder", r"no method open\(\)"),
        (plugins.VOICE, "json:JSONDecoder", r"no method speak\(\).*tts/engine.py"),
        (plugins.VOICE, "their_engines:SpeaksTwice", r"speak\(self, text, voice\) cannot"),
        (plugins.VOICE, "their_engines:Slow", "rate is '16000', not int"),
        (plugins.RECOGNISER, "json:JSONDecoder", r"no method listen\(\)"),
        (plugins.RECOGNISER, "their_engines:Listless", r"no method feed\(\)"),
        (plugins.RECOGNISER, ":", "cannot be loaded"),
        (plugins.RECOGNISER, "..:x", "cannot be loaded"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(part, name, said):
    with pytest.raises(ConfigError, match=said) as error:
        plugins.made(part, name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tts": {"voice": "jo"}}, r"tts.voice: there is no 'jo' \(did you mean joe\?\).*joe"),
        ({"tts": {"engine": "pipr"}}, "did you mean piper"),
        ({"asr": {"model": "whisper-bass"}}, "did you mean whisper-base"),
        ({"asr": {"device": "gpu"}}, "asr.device: there is no 'gpu'"),
        ({"responder": {"model": "smollm2"}}, "smollm2-135m-instruct"),
        ({"responder": {"model": "models/llama.gguf"}}, "GGUF file"),
        ({"responder": {"dtype": "int5"}}, "did you mean int8|did you mean int4"),
        ({"responder": {"engine": "difusion"}}, "did you mean diffusion"),
        ({"responder": {"adapter": "/nowhere"}}, "no directory"),
        ({"responder": {"engine": "json:JSONDecoder"}}, "no responder"),
    ],
)
def test_names_are_checked_before_anything_is_loaded(settings, said):
    with pytest.raises(ConfigError, match=said):
        engine_names.check(Settings(**settings))


def test_the_defaults_and_repositories_pass():
    engine_names.check(Settings())
    engine_names.check(Settings(responder={"model": "Dream-org/Dream-v0-Instruct-7B"}))
    engine_names.check(Settings(asr={"model": "large-v3-turbo"}))
