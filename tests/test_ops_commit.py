"""Which positions become final: the kernel and the reference against the decode rules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.kernels import DEVICE, integers, needs_triton

from dllm_core.decode import unmask
from dllm_core.errors import OptionError
from dllm_core.ops.commit import commit

pytestmark = pytest.mark.kernels

BOTH = [
    pytest.param(lambda: commit.reference, id="reference"),
    pytest.param(lambda: commit.kernel, id="kernel", marks=needs_triton),
]
EOS = (0, 1)
MASK = 99


class Sequences:
    """The state of a batch, as `commit` takes it."""

    def __init__(self, masked, proposed, probability, live=None):
        self.masked = torch.tensor(masked, device=DEVICE)
        self.proposed = torch.tensor(proposed, device=DEVICE)
        self.probability = torch.tensor(probability, device=DEVICE, dtype=torch.float32)
        self.ids = torch.where(self.masked, MASK, 50)
        self.confidence = torch.full_like(self.probability, -1.0)
        sequences = len(masked)
        self.live = integers(*([1] * sequences if live is None else live))
        self.steps = integers(*range(sequences))

    def step(self, run, eos_ids=EOS, **rule):
        run(
            self.ids,
            self.masked,
            self.proposed,
            self.probability,
            self.confidence,
            self.live,
            self.steps,
            integers(*eos_ids, dtype=torch.int64),
            **rule,
        )
        return self

    def state(self):
        fields = (self.ids, self.masked, self.confidence, self.live, self.steps)
        return [field.tolist() for field in fields]


@pytest.mark.parametrize("implementation", BOTH)
def test_the_surest_are_committed(implementation):
    sequences = Sequences([[True] * 4], [[10, 11, 12, 13]], [[0.2, 0.9, 0.1, 0.8]])
    sequences.step(implementation(), quota=integers(2))
    assert sequences.ids.tolist() == [[MASK, 11, MASK, 13]]
    assert sequences.masked.tolist() == [[True, False, True, False]]
    assert sequences.confidence.tolist() == [pytest.approx([0.2, 0.9, 0.1, 0.8])]
    assert (sequences.live.tolist(), sequences.steps.tolist()) == ([1], [1])


@pytest.mark.parametrize("implementation", BOTH)
def test_equals_are_committed_from_the_left(implementation):
    sequences = Sequences([[True, False, True, True, True]], [[10] * 5], [[0.5] * 5])
    sequences.step(implementation(), quota=integers(2))
    assert sequences.masked.tolist() == [[False, False, False, True, True]]


@pytest.mark.parametrize("implementation", BOTH)
def test_the_end_comes_last_and_from_the_left(implementation):
    sequences = Sequences([[True] * 4], [[0, 11, 1, 13]], [[0.99, 0.1, 0.98, 0.2]])
    run = implementation()
    for open_then in ([0, 1, 2], [0, 2], [2]):
        sequences.step(run, quota=integers(1))
        assert sequences.masked[0].nonzero().flatten().tolist() == open_then
    # With the end at the first position, nothing open lies before it.
    assert sequences.live.tolist() == [0]


@pytest.mark.parametrize("implementation", BOTH)
def test_the_end_may_come_when_it_likes(implementation):
    sequences = Sequences([[True] * 3], [[10, 0, 12]], [[0.5, 0.9, 0.4]])
    sequences.step(implementation(), quota=integers(1), eos_last=False)
    assert sequences.ids.tolist() == [[MASK, 0, MASK]]
    assert sequences.live.tolist() == [1]


@pytest.mark.parametrize("implementation", BOTH)
def test_a_threshold_commits_all_above_it_or_the_best(implementation):
    sequences = Sequences(
        [[True] * 3, [True] * 3, [True] * 3],
        [[10, 11, 12], [10, 11, 12], [0, 0, 0]],
        [[0.9, 0.89, 0.95], [0.1, 0.3, 0.2], [0.99, 0.99, 0.99]],
    )
    sequences.step(implementation(), threshold=0.9)
    assert sequences.masked.tolist() == [
        [False, True, False],
        [True, False, True],
        [False, True, True],
    ]
    assert sequences.live.tolist() == [1, 1, 0]


@pytest.mark.parametrize("implementation", BOTH)
def test_a_call_with_nothing_open_ends(implementation):
    sequences = Sequences([[True, False], [False, False]], [[10, 11]] * 2, [[0.5, 0.5]] * 2)
    sequences.step(implementation(), quota=integers(5, 5))
    assert sequences.live.tolist() == [0, 0]
    assert sequences.ids.tolist() == [[10, 50], [50, 50]]


@pytest.mark.parametrize("implementation", BOTH)
def test_dead_calls_stay_as_they_are(implementation):
    sequences = Sequences([[True] * 2] * 2, [[10, 11]] * 2, [[0.5, 0.6]] * 2, live=[0, 1])
    sequences.step(implementation(), quota=integers(1, 1))
    assert sequences.ids.tolist() == [[MASK, MASK], [MASK, 11]]
    assert sequences.confidence[0].tolist() == [-1.0, -1.0]
    assert (sequences.live.tolist(), sequences.steps.tolist()) == ([0, 1], [0, 2])


@pytest.mark.parametrize("implementation", BOTH)
@pytest.mark.parametrize("rule", [{}, {"quota": integers(1), "threshold": 0.5}])
def test_one_rule_is_needed(implementation, rule):
    sequences = Sequences([[True]], [[10]], [[0.5]])
    with pytest.raises(OptionError, match="either a quota or a threshold"):
        sequences.step(implementation(), **rule)


@needs_triton
def test_a_canvas_too_long_for_the_kernel_is_refused():
    sequences = Sequences([[True] * 257], [[10] * 257], [[0.5] * 257])
    with pytest.raises(OptionError, match="at most 256"):
        sequences.step(commit.kernel, quota=integers(1))


def random_sequences(seed: int, positions: int) -> Sequences:
    generator = torch.Generator().manual_seed(seed)

    def integer(high: int):
        return torch.randint(high, (3, positions), generator=generator)

    # Few different probabilities, so that many are equal.
    return Sequences(
        (integer(2) == 1).tolist(),
        integer(5).tolist(),
        ((integer(4) + 1) / 5).tolist(),
        live=integer(4)[:, 0].clamp(max=1).tolist(),
    )


@given(seed=st.integers(0, 2**32), positions=st.integers(1, 40), count=st.integers(0, 6))
def test_the_reference_follows_the_decode_rules(seed, positions, count):
    sequences = random_sequences(seed, positions)
    before = random_sequences(seed, positions)
    sequences.step(commit.reference, quota=integers(count, count, count))
    for sequence in range(3):
        if not before.live[sequence]:
            continue
        keys, masked = before.probability[sequence].clone(), before.masked[sequence]
        ends = torch.isin(before.proposed[sequence].cpu(), torch.tensor(EOS)).to(DEVICE)
        places = torch.arange(positions, device=DEVICE)
        keys = torch.where(ends, -1e3 - places, keys)
        # A bias from left to right makes all keys different, and topk's order defined.
        expected = unmask.top(keys.double() - 1e-9 * places, masked, count)
        assert torch.equal(before.masked[sequence] & ~sequences.masked[sequence], expected)


@needs_triton
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    positions=st.sampled_from([1, 3, 32, 33, 64]),
    rule=st.sampled_from([{"quota": 0}, {"quota": 3}, {"threshold": 0.6}, {"threshold": 1.0}]),
    eos_last=st.booleans(),
)
def test_the_kernel_does_what_the_reference_does(seed, positions, rule, eos_last):
    if "quota" in rule:
        rule = {"quota": integers(rule["quota"], 1, 64)}
    actual = random_sequences(seed, positions).step(commit.kernel, eos_last=eos_last, **rule)
    expected = random_sequences(seed, positions).step(commit.reference, eos_last=eos_last, **rule)
    assert actual.state() == expected.state()


@needs_triton
@pytest.mark.parametrize("eos_ids", [(), (7,), (0, 1, 2)])
def test_the_kernel_takes_any_number_of_ends(eos_ids):
    actual = random_sequences(5, 20).step(commit.kernel, eos_ids, quota=integers(9, 9, 9))
    expected = random_sequences(5, 20).step(commit.reference, eos_ids, quota=integers(9, 9, 9))
    assert actual.state() == expected.state()
