"""Keys and values on the device: one pool of pages for all calls, and what a call has read."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.errors import DllmError, PromptTooLongError
from dllm_core.model.cache import KeyValues, PromptCache, shared_prefix
from dllm_core.model.pages import PageBook, pages_for
from dllm_core.ops import PAGE


class PagePool:
    """Pages of every layer; `layers[i]` is (keys, values), each (pages, kv_heads, PAGE, head_dim).

    A page number means the same page in all layers.
    """

    def __init__(
        self, config: ModelConfig, pages: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.book = PageBook(pages)
        self.config, self.dtype = config, dtype
        shape = (config.num_layers, 2, pages, config.num_kv_heads, PAGE, config.head_dim)
        # Zeros: rows of a page that were never written are masked, but NaN times 0 is NaN.
        self._store = torch.zeros(shape, dtype=dtype, device=device)
        self.layers = [(layer[0], layer[1]) for layer in self._store]
        self.device = device
        self.page_bytes = self._store.nbytes // pages

    def copy(self, source: int, target: int) -> None:
        self._store[:, :, target] = self._store[:, :, source]


class PagedCache:
    """What one call has read, in pages; the words are those of `PromptCache`.

    It may begin as a `fork` of another cache: their common pages are shared until one of them
    writes into one.

    Raises:
        PagesFullError: the pool cannot promise the pages of `limit` positions.
    """

    def __init__(self, pool: PagePool, limit: int, common: PagedCache | None = None) -> None:
        self.limit, self.pool = limit, pool
        self.ids: list[int] = [] if common is None else list(common.ids)
        self.pages: list[int] = [] if common is None else list(common.pages)
        # The border page of a common beginning will be copied, whole ones never are.
        own = pages_for(limit, PAGE) - len(self.ids) // PAGE
        self._holder = pool.book.open(own)
        for page in self.pages:
            pool.book.share(page)
        self.lead: Tensor | None = None if common is None else common.lead
        """Normalised hidden state (hidden_size,) of the last id, where it was computed."""
        self._contiguous: PromptCache | None = None
        self.close = weakref.finalize(self, _release, pool.book, self._holder, self.pages)
        """Gives all pages back; also happens when the cache is no longer referred to."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def contiguous(self) -> PromptCache:
        """The sequence's cache for rules that do not run on pages, made when first asked for.

        It has memory of its own, beside the pages, and reads the prompt for itself.
        """
        if self._contiguous is None:
            pool = self.pool
            store = KeyValues(pool.config, self.limit, pool.dtype, pool.device)
            self._contiguous = PromptCache(store)
        return self._contiguous

    def shared_prefix(self, ids: Sequence[int]) -> int:
        """Number of leading tokens of `ids` that are cached already."""
        return shared_prefix(self.ids, ids)

    def crop(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        if not 0 <= length <= len(self.ids):
            raise IndexError(f"cannot crop {len(self.ids)} cached tokens to {length}")
        if length < len(self.ids):
            self.lead = None
        del self.ids[length:]
        self._shorten(pages_for(length, PAGE))

    def _shorten(self, count: int) -> None:
        while len(self.pages) > count:
            self.pool.book.drop(self.pages.pop())

    def reserve(self, extra: int) -> None:
        """Own the pages of `extra` rows after the valid ones, copying a shared border page.

        Raises:
            PromptTooLongError: they exceed the limit.
            PagesFullError: the call gave up a common beginning and there is no room for its own.
        """
        if not self.close.alive:
            raise DllmError("This cache has been closed, and its pages are others' by now.")
        needed = len(self.ids) + extra
        if needed > self.limit:
            raise PromptTooLongError(
                f"{needed} tokens do not fit the context of {self.limit}: shorten the history or "
                "load the engine with a larger context."
            )
        book, border = self.pool.book, len(self.ids) // PAGE
        for place in range(border, len(self.pages)):
            if book.is_shared(page := self.pages[place]):
                self.pages[place] = own = book.take(self._holder)
                self.pool.copy(page, own)
                book.drop(page)
        while len(self.pages) < pages_for(needed, PAGE):
            self.pages.append(book.take(self._holder))

    def commit(self, ids: Sequence[int], lead: Tensor | None = None) -> None:
        """Declare that the rows after the valid ones now hold `ids`."""
        self.ids.extend(ids)
        self.lead = lead

    @property
    def nbytes(self) -> int:
        """Bytes of the pages in this call's hands, shared ones included."""
        return len(self.pages) * self.pool.page_bytes


def _release(book: PageBook, holder: int, pages: list[int]) -> None:
    while pages:
        book.drop(pages.pop())
    book.close(holder)
