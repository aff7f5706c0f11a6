"""Pages of keys and values: none in two hands that is written to, none lost."""

import gc

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.tiny import tiny_config

from dllm_core.errors import PagesFullError, PromptTooLongError
from dllm_core.model.paged_cache import PagedCache, PagePool
from dllm_core.model.pages import PageBook, pages_for
from dllm_core.ops import PAGE

PAGES = 12
LIMIT = 4 * PAGE
CONFIG = tiny_config(num_layers=1, num_kv_heads=1, num_heads=1, head_dim=2)


def make_pool(pages: int = PAGES) -> PagePool:
    return PagePool(CONFIG, pages, torch.float32, torch.device("cpu"))


def write(cache: PagedCache, ids: list[int]) -> None:
    """Store every token as its own key, as a forward pass would."""
    cache.reserve(len(ids))
    keys, _ = cache.pool.layers[0]
    for position, token in enumerate(ids, len(cache)):
        keys[cache.pages[position // PAGE], 0, position % PAGE] = token
    cache.commit(ids)


def stored(cache: PagedCache) -> list[int]:
    keys, _ = cache.pool.layers[0]
    return [
        int(keys[cache.pages[position // PAGE], 0, position % PAGE, 0])
        for position in range(len(cache))
    ]


class Calls(RuleBasedStateMachine):
    """Calls come, read, forget, share and go; each must always find what it has read."""

    @initialize()
    def begin(self) -> None:
        self.pool = make_pool()
        self.calls: list[PagedCache] = []
        self.common: PagedCache | None = None
        self.shared: dict[PagedCache, int] = {}
        """Tokens of its common beginning that a call keeps; absent: it has left that."""

    @rule(length=st.integers(1, 2 * PAGE), token=st.integers(1, 9))
    def share(self, length: int, token: int) -> None:
        if self.common is not None:
            self.common.close()
            self.common = None
        try:
            common = PagedCache(self.pool, length)
        except PagesFullError:
            assert self.pool.book.spare < pages_for(length, PAGE)
            return
        write(common, [token] * length)
        self.common = common

    @rule(pages=st.integers(1, 4))
    def come(self, pages: int) -> None:
        limit = pages * PAGE
        if self.common is not None and len(self.common) > limit:
            limit = LIMIT
        shared = 0 if self.common is None else len(self.common) // PAGE
        if self.pool.book.spare >= pages_for(limit, PAGE) - shared:
            self.calls.append(call := PagedCache(self.pool, limit, self.common))
            self.shared[call] = shared * PAGE
        else:
            with pytest.raises(PagesFullError, match="Try again"):
                PagedCache(self.pool, limit, self.common)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), count=st.integers(1, 100), token=st.integers(1, 9))
    def read(self, data: st.DataObject, count: int, token: int) -> None:
        call = data.draw(st.sampled_from(self.calls))
        before = len(call)
        try:
            write(call, [token] * count)
        except PromptTooLongError:
            assert before + count > call.limit
        except PagesFullError:
            # Within what a call was promised a page is always there.
            assert call not in self.shared

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        call.crop(length := data.draw(st.integers(0, len(call))))
        if length < self.shared.get(call, 0):
            del self.shared[call]

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        self.shared.pop(call, None)
        call.close()
        call.close()

    @invariant()
    def everyone_finds_what_it_read(self) -> None:
        for call in self._everyone():
            assert stored(call) == call.ids

    @invariant()
    def no_page_is_lost_or_in_two_hands_by_accident(self) -> None:
        book, hands = self.pool.book, [0] * PAGES
        for call in self._everyone():
            assert len(set(call.pages)) == len(call.pages)
            for page in call.pages:
                hands[page] += 1
        assert hands[0] == 0
        assert book.free == hands[1:].count(0)
        assert [book.is_shared(page) for page in range(PAGES)] == [n > 1 for n in hands]
        assert book.spare <= book.free
        assert book.spare >= 0

    def _everyone(self) -> list[PagedCache]:
        return [*self.calls, *([] if self.common is None else [self.common])]

    def teardown(self) -> None:
        for call in self._everyone():
            call.close()
        assert self.pool.book.free == self.pool.book.spare == PAGES - 1


Calls.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestCalls = pytest.mark.slow(Calls.TestCase)


def test_a_common_beginning_is_stored_once_and_copied_at_its_border() -> None:
    pool = make_pool()
    common = PagedCache(pool, 100)
    write(common, [3] * 100)
    first, second = (PagedCache(pool, LIMIT, common) for _ in range(2))
    assert first.pages == second.pages == common.pages
    write(first, [4] * 10)
    write(second, [5] * 10)
    assert first.pages[0] == second.pages[0] == common.pages[0]
    assert len({first.pages[1], second.pages[1], common.pages[1]}) == 3
    assert stored(first) == [3] * 100 + [4] * 10
    assert stored(second) == [3] * 100 + [5] * 10


def test_a_common_beginning_makes_room_for_another_call() -> None:
    alone, sharing = make_pool(), make_pool()
    two = [PagedCache(alone, LIMIT) for _ in range(2)]
    with pytest.raises(PagesFullError, match="by 2 sequences: of 11 pages 3 are left, and 4 are"):
        PagedCache(alone, LIMIT)
    assert len(two) == 2
    common = PagedCache(sharing, 2 * PAGE)
    write(common, [3] * 2 * PAGE)
    calls = [PagedCache(sharing, LIMIT, common) for _ in range(4)]
    with pytest.raises(PagesFullError, match="of 11 pages 1 are left, and 2 are"):
        PagedCache(sharing, LIMIT, common)
    for call in calls:
        write(call, [4] * 2 * PAGE)  # all of them, to the last page
    calls[0].crop(0)
    with pytest.raises(PagesFullError, match="0 are left, and 1 are needed"):
        calls[0].reserve(LIMIT)


@pytest.mark.slow
def test_a_forgotten_call_gives_its_pages_back() -> None:
    pool = make_pool()
    write(PagedCache(pool, LIMIT), [1] * 200)
    gc.collect()
    assert pool.book.free == pool.book.spare == PAGES - 1


def test_the_book_refuses_what_makes_no_sense() -> None:
    book = PageBook(3)
    page = book.take(book.open(1))
    book.drop(page)
    with pytest.raises(ValueError, match="is free already"):
        book.drop(page)
    with pytest.raises(ValueError, match="nothing to share"):
        book.share(page)
