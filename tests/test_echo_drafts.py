"""Candidates from what was said before."""

from collections.abc import Sequence

from dllm_core.draft.echo import Echo, Lookup
from dllm_core.draft.proposal import Candidate
from dllm_core.draft.sources import Joined


def test_the_longest_run_of_last_tokens_is_found_where_it_stood_last() -> None:
    lookup = Lookup([1, 2, 3, 9, 5, 1, 2, 3, 7, 8, 4, 1, 2, 3])
    found = lookup.find()
    assert found is not None
    assert found.length == 3
    assert [c.token for c in found.after([3], 3)] == [7]
    assert [c.token for c in found.after([3, 7], 3)] == [8]
    assert found.after([3, 6], 3) == []
    assert found.after([3, 6, 8], 3) == []
    assert not found.sure


def test_four_tokens_are_sure_and_a_run_is_not_its_own_echo() -> None:
    assert Lookup([1, 2, 3, 4]).find() is None
    assert Lookup([5]).find() is None
    assert Lookup([]).find() is None
    lookup = Lookup([1, 2, 3, 4, 5])
    lookup.extend([1, 2, 3, 4])
    found = lookup.find()
    assert found is not None
    assert found.sure
    assert found.after([4], 1)[0].token == 5
    assert found.after([4] * 21, 1) == []


class Fixed:
    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        return [Candidate(7, 0.4), Candidate(8, 0.9)]


def test_the_likelier_of_two_sources_counts() -> None:
    joined = Joined([Fixed(), Echo(2, [7, 1])])
    found = joined.after([3], 3)
    assert [c.token for c in found] == [8, 7]
    assert found[1].chance > 0.4
    assert Joined([]).after([3], 3) == []
