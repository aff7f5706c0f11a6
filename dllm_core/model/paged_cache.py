"""Keys and values on a GPU: one pool of pages, and the cache of each sequence in it."""

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
    """The pages of every layer; a page number means the same positions in all layers.

    Attributes:
        layers: for each layer (keys, values), both (pages, kv_heads, PAGE, head_dim).
        book: reference counts of the pages.
        page_bytes: bytes of one page, over all layers.
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
        """Copy a page, in all layers."""
        self._store[:, :, target] = self._store[:, :, source]


class PagedCache:
    """The token ids that one sequence has read, and their keys and values in pages.

    The interface is that of `PromptCache`. Closing the cache, or dropping its last reference,
    gives all pages back.

    Args:
        pool: the pages.
        limit: most positions; pages for all of them are reserved at once.
        common: a cache to begin with; its pages are shared until one of the two writes into one.

    Attributes:
        ids: the tokens that are read.
        pages: numbers of the pages, in the order of positions.
        lead: normalised hidden state (hidden_size,) of the last id, where it was computed.

    Raises:
        PagesFullError: the pool cannot reserve the pages of `limit` positions.
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
        self._contiguous: PromptCache | None = None
        self.close = weakref.finalize(self, _release, pool.book, self._holder, self.pages)

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
            PagesFullError: the sequence has left its common prefix and there is no room for pages
                of its own.
            DllmError: the cache is closed.
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
        """Count the rows after the valid ones as those of `ids`; `lead` belongs to the last one."""
        self.ids.extend(ids)
        self.lead = lead

    @property
    def nbytes(self) -> int:
        """Bytes of this cache's pages, shared ones included."""
        return len(self.pages) * self.pool.page_bytes


def _release(book: PageBook, holder: int, pages: list[int]) -> None:
    while pages:
        book.drop(pages.pop())
    book.close(holder)
