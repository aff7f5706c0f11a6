"""What the arguments of the Ray Serve application make of the deployment; no Ray is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.config.settings import ResponderChoice
from agent.errors import ConfigError
from agent.responders.base import ResponderError
from agent.responders.ray import RayResponder
from agent.runtime.engines import make_responder
from agent.runtime.ray_arguments import Arguments

ROOT = Path(__file__).parents[1]


def test_words_of_a_command_line_become_numbers_and_options() -> None:
    found = Arguments(model="m", replicas="2", batch="4", threads="3", rule="draft", gpus="0.5")  # type: ignore[arg-type]
    assert found.decoding() == {"rule": "draft"}
    made = found.deployment()
    assert made["num_replicas"] == 2
    assert made["max_ongoing_requests"] == 4
    assert made["max_queued_requests"] == 64
    assert made["ray_actor_options"] == {"num_cpus": 3, "num_gpus": 0.5}
    assert "autoscaling_config" not in made


def test_replicas_follow_the_queue_between_two_bounds() -> None:
    made = Arguments(replicas=1, max_replicas=4, batch=8).deployment()
    assert "num_replicas" not in made
    scaling = made["autoscaling_config"]
    assert scaling == {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 4.0}
    given = Arguments(replicas=1, max_replicas=4, target_queue=2).deployment()
    assert given["autoscaling_config"]["target_ongoing_requests"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"engine": "hosted"}, "runs in voice servers"),
        ({"engine": "ray"}, "runs in voice servers"),
        ({"replicas": 3, "max_replicas": 2}, "less than replicas"),
        ({"replica": 3}, "Extra inputs"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"rule": "guess"}, "Input should be"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Arguments(**arguments)  # type: ignore[arg-type]


def test_the_settings_of_a_voice_server_make_the_client() -> None:
    chosen = ResponderChoice(
        engine="ray", base_url="http://user:pass@ray.internal:8000/app?x=1", max_tokens=32
    )
    made = make_responder(chosen, 1, print)
    assert isinstance(made, RayResponder)
    assert made.cluster.max_tokens == 32
    assert made.cluster.place == "http://ray.internal:8000/app"
    with pytest.raises(ResponderError, match=r"set responder\.base_url"):
        make_responder(ResponderChoice(engine="ray"), 1, print)
    with pytest.raises(ConfigError, match=r"responder\.rule"):
        make_responder(ResponderChoice(engine="ray", base_url="http://r", rule="draft"), 1, print)


def test_without_ray_the_application_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "agent.runtime.ray_app", raising=False)
    with pytest.raises(ConfigError, match=r"install it: .*ray\[serve\]"):
        __import__("agent.runtime.ray_app")


def test_the_client_needs_no_ray() -> None:
    for name in ("ray", "ray_connection", "ray_wire"):
        text = (ROOT / f"agent/responders/{name}.py").read_text()
        assert "import ray\n" not in text
        assert "from ray " not in text
