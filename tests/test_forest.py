"""Words scored behind texts that were read once have the scores of whole texts."""

from __future__ import annotations

import pytest
import torch
from support.tiny import tiny_config, tiny_model
from test_decide import KINDS, engine_of

from dllm_core import OptionError, PromptTooLongError
from dllm_core.decode.forest import Forest, beginnings

TEXTS = [[5, 9, 2, 7], [5, 9, 3], [8], [5, 9, 2, 7, 7, 1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [[4], [6, 4, 6, 11]])
def test_scores_are_those_of_texts_read_anew(kind: str, words: list[int]) -> None:
    model = engine_of(kind).model
    kept, anew = (beginnings(model, 512, TEXTS, plain=plain) for plain in (False, True))
    for _ in range(2):  # scoring leaves nothing behind
        assert torch.allclose(kept.score(words), anew.score(words), atol=1e-5)


def test_scores_are_log_probabilities_of_the_words() -> None:
    engine = engine_of("causal", 512)
    found = Forest(engine.model, 512, TEXTS).score([6, 4])
    whole = [2 * engine.score(text, [6, 4]) for text in TEXTS]
    assert found.tolist() == pytest.approx(whole, abs=1e-4)


def test_too_much_is_refused() -> None:
    model = tiny_model(tiny_config(vocab_size=260, context_length=64))
    with pytest.raises(PromptTooLongError, match="do not fit"):
        Forest(model, 64, [[1] * 99])
    forest = Forest(model, 64, TEXTS)
    with pytest.raises(PromptTooLongError, match="do not fit"):
        forest.score([1] * 20)
    with pytest.raises(OptionError, match="no text"):
        forest.score([])
    assert len(forest.score([1])) == len(TEXTS)
