"""The drafter that comes with the default model: no word changes, and passes are spared."""

from pathlib import Path

import pytest
from support.smollm import SYSTEM, questions, smollm_path

from agent.models import store
from agent.responders.base import CanvasStep, Message, ReplyDone, ResponderError
from agent.responders.diffusion import DiffusionResponder
from dllm_core import DecodeOptions, Engine
from dllm_core.draft import bundled, files
from dllm_core.errors import DrafterError

pytestmark = pytest.mark.model
MOST = 20


@pytest.fixture(scope="module", params=["int4", pytest.param("float32", marks=pytest.mark.long)])
def engine(request: pytest.FixtureRequest) -> Engine:
    found = Engine.load(smollm_path(), dtype=request.param, device="cpu")
    place = found.bundled_drafter()
    assert place is not None
    found.use_drafter(place)
    return found


def test_words_are_the_models_own_in_fewer_passes(engine: Engine) -> None:
    count = 1 if engine.model.head is None else 5  # the plain version is slow
    tokens = passes = 0
    for question in questions()[:count]:
        ids = engine.encode_chat([("system", SYSTEM), ("user", question)])
        plain = engine.reply(ids, options=DecodeOptions(rule="fixed_point", max_tokens=MOST))
        mine = engine.reply(ids, options=DecodeOptions(rule="draft", max_tokens=MOST))
        assert mine.ids == plain.ids
        assert mine.text == plain.text
        tokens, passes = tokens + mine.stats.tokens, passes + mine.stats.forwards
    assert tokens / passes > 1.2


def test_the_responder_drafts_by_itself_and_tells_what_became_of_it() -> None:
    responder = DiffusionResponder(smollm_path(), device="cpu", max_tokens=24)
    assert responder.options.rule == "draft"
    call = responder.open()
    messages = [Message("system", SYSTEM), Message("user", "What do bees make?")]
    call.prepare(messages)
    pieces = list(call.reply(messages))
    steps = [piece for piece in pieces if isinstance(piece, CanvasStep)]
    done = pieces[-1]
    assert isinstance(done, ReplyDone)
    assert all(step.draft is not None for step in steps)
    assert done.stats["rounds"] == len(steps) == done.forwards
    assert done.stats["unverified_tokens"] == 0
    accepted = sum(step.draft.accepted for step in steps if step.draft is not None)
    assert done.stats["accepted_tokens"] == accepted
    assert done.stats["tokens"] == len(steps) + accepted
    # A second call begins with the instructions that the first one has read.
    other = responder.open()
    assert other.prepare(messages).cached_tokens > 10


def test_none_is_none_and_a_wrong_drafter_is_refused_with_a_sentence(tmp_path: Path) -> None:
    plain = DiffusionResponder(smollm_path(), device="cpu", drafter="none")
    assert plain.options.rule == "fixed_point"
    with pytest.raises(ResponderError, match="holds no drafter"):
        DiffusionResponder(smollm_path(), device="cpu", drafter=tmp_path)


def test_the_shipped_weights_are_those_of_the_catalogue(tmp_path: Path) -> None:
    store.verify("smollm2-135m-drafter")
    path = store.locate("smollm2-135m-drafter")
    assert path.parent.parent == bundled.WEIGHTS
    assert path.stat().st_size <= 16_000_000
    found = files.read(path.parent)
    assert found.config.words <= found.config.vocab_size
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in (files.CONFIG, files.WEIGHTS):
        (copy / part).write_bytes((path.parent / part).read_bytes())
    weights = copy / files.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(DrafterError, match="damaged"):
        files.read(copy)
