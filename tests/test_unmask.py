from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dllm_core.decode import unmask

PLACES = st.lists(
    st.tuples(st.floats(0, 1, allow_subnormal=False), st.booleans()), min_size=1, max_size=16
).filter(lambda rows: any(masked for _, masked in rows))


def split(rows: list[tuple[float, bool]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([c for c, _ in rows]).double(), torch.tensor([m for _, m in rows])


@given(PLACES, st.integers(1, 16), st.floats(0, 1))
def test_rules_commit_at_least_one_and_only_open_positions(
    rows: list[tuple[float, bool]], count: int, threshold: float
) -> None:
    sure, masked = split(rows)
    for chosen in (
        unmask.top(sure, masked, count),
        unmask.leftmost(masked, count),
        unmask.above(sure, masked, threshold),
        unmask.factor(sure, masked, threshold * 3),
        unmask.entropy_bounded(1 - sure, masked, threshold),
        unmask.dynamic(sure, masked, threshold, count),
    ):
        assert chosen.any()
        assert not (chosen & ~masked).any()


@given(PLACES, st.integers(1, 16))
def test_the_quota_takes_the_surest(rows: list[tuple[float, bool]], count: int) -> None:
    sure, masked = split(rows)
    chosen = unmask.top(sure, masked, count)
    assert int(chosen.sum()) == min(count, int(masked.sum()))
    left = masked & ~chosen
    if left.any():
        assert sure[chosen].min() >= sure[left].max()


def test_factor_stops_before_the_first_failure_even_if_it_is_the_last() -> None:
    # Bounds of rank 1, 2, 3 with a factor of 1: 1/2, 2/3, 3/4. Fast-dLLM's loop would take all.
    sure, masked = torch.tensor([0.7, 0.9, 0.7]).double(), torch.ones(3, dtype=torch.bool)
    assert unmask.factor(sure, masked, 1.0).tolist() == [True, True, False]


def test_the_entropy_bound_leaves_out_the_largest() -> None:
    entropy, masked = torch.tensor([0.3, 0.05, 0.06, 2.0]), torch.ones(4, dtype=torch.bool)
    assert unmask.entropy_bounded(entropy, masked, 0.12).tolist() == [True, True, True, False]


def test_dynamic_falls_back_to_the_quota() -> None:
    sure, masked = torch.tensor([0.99, 0.5, 0.4]), torch.ones(3, dtype=torch.bool)
    assert unmask.dynamic(sure, masked, 0.9, 1).tolist() == [True, False, False]
    assert unmask.dynamic(sure, masked, 0.9, 2).tolist() == [True, True, False]


@pytest.mark.parametrize("vocab", [64, 61])  # the kernel's, and torch's
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_confidences_are_those_of_a_softmax_in_float64(vocab: int, scale: float) -> None:
    logits = torch.randn(40, vocab, generator=torch.Generator().manual_seed(vocab)) * scale
    probabilities = logits.double().softmax(-1)
    ids = torch.arange(40) % vocab
    best, sure = unmask.predict(logits)
    assert torch.equal(best, logits.argmax(-1))
    near = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-12)
    near(1 - sure, 1 - probabilities.amax(-1))
    chosen = unmask.confidences(logits, ids, "probability", torch.Generator())
    near(chosen, probabilities.gather(-1, ids[:, None]).squeeze(-1))
    first, second = probabilities.topk(2).values.unbind(-1)
    near(unmask.confidences(logits, ids, "margin", torch.Generator()), first - second)


def test_of_two_sure_positions_the_surer_one_is_known() -> None:
    logits = torch.zeros(2, 32)
    logits[:, 3] = torch.tensor([25.0, 26.0])
    _, sure = unmask.predict(logits)
    assert sure.float().tolist() == [1.0, 1.0]
    assert sure[0] < sure[1] < 1


def test_what_is_ruled_out_is_never_chosen() -> None:
    logits = torch.full((1, 32), -torch.inf)
    logits[0, 4] = 2.0
    sure = [
        unmask.confidences(logits, torch.tensor([i]), "probability", torch.Generator()).item()
        for i in (4, 5)
    ]
    assert sure == [1.0, 0.0]
    assert unmask.confidences(logits, torch.tensor([4]), "margin", torch.Generator()).item() == 1.0


def test_sampling_follows_the_probabilities_and_the_seed() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).expand(6000, 3)
    draws = unmask.sample(logits, 1.0, 1.0, torch.Generator().manual_seed(3))
    shares = torch.bincount(draws, minlength=3) / len(draws)
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.02, rtol=0)
    again = unmask.sample(logits, 1.0, 1.0, torch.Generator().manual_seed(3))
    assert torch.equal(draws, again)
    nucleus = unmask.sample(logits, 1.0, 0.7, torch.Generator().manual_seed(3))
    assert set(nucleus.tolist()) == {0, 1}
    assert set(unmask.sample(logits, 0.0, 1.0, torch.Generator()).tolist()) == {0}


@pytest.mark.parametrize(("relative", "length"), [(1.0, 1), (0.5, 2), (0.1, 3)])
def test_guided_acceptance_takes_the_longest_prefix(relative: float, length: int) -> None:
    opinion = torch.log(torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.8, 0.2]]))
    draft = torch.tensor([0, 0, 1])
    assert unmask.accepted_prefix(draft, opinion, relative) == length
