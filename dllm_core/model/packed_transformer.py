"""The transformer of transformer.py over packed weights: a pass is one program of CPU kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dllm_core.config import ModelConfig
from dllm_core.cpu import attention, jit, prediction, product
from dllm_core.cpu.attention_kernel import AttentionSlot, scratch_bytes
from dllm_core.cpu.formats import GROUP
from dllm_core.cpu.packed import PackedRows
from dllm_core.cpu.product import Norm
from dllm_core.cpu.product_kernel import Finish
from dllm_core.cpu.team import Launch, Program
from dllm_core.cpu.workspace import Workspace
from dllm_core.model.quantize import PackedLinear
from dllm_core.model.transformer import Block, LinearKind, Span, Taps, Transformer

_KEPT = 16
"""Passes whose programs are kept, to run again on rows of the same shape."""
_MOST_ROWS = 128
"""Most rows of a pass that is kept; longer prompts are read once."""

_LAYERS = ("qkv", "out", "gate_up", "down")
"""Names of the linear layers of a block."""

_scratch = Workspace()
"""Scratch memory of attention, shared by all passes."""


class PackedTransformer(Transformer):
    """A `Transformer` whose forward pass runs as one program of kernels.

    Results are those of `Transformer` to within rounding. With an adapter around a layer, the
    pass is that of `Transformer` itself.
    """

    def __init__(self, config: ModelConfig, kind: LinearKind, context: int) -> None:
        super().__init__(config, kind, context)
        for block in self.blocks_in_order:
            _packed(block.mlp.gate_up).pair()
        self._begin()

    def _begin(self) -> None:
        self._passes: OrderedDict[tuple[object, ...], _Pass] = OrderedDict()
        self._lock = Lock()
        self._tables: list[dict[str, nn.Module | None]] = []
        """Modules of the attention and of the MLP of every block."""

    def __getstate__(self) -> dict[str, Any]:
        """State without the passes, which hold addresses of this model; a copy makes its own."""
        own = ("_passes", "_lock", "_tables")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._begin()

    @staticmethod
    def fits(config: ModelConfig, kind: LinearKind) -> bool:
        """Whether the kernels run models of this shape with this kind of linear layer."""
        wide = (config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim)
        whole = all(size % GROUP == 0 for size in wide)
        return issubclass(kind, PackedLinear) and whole and heads_of(config).fit

    @property
    def blocks_in_order(self) -> list[Block]:
        """The blocks, typed."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def through(
        self,
        x: Tensor,
        spans: Sequence[Span],
        layers: Sequence[int] | None = None,
        taps: Taps | None = None,
    ) -> Tensor:
        """See `Transformer.through`; several threads run one after another."""
        weights = self._packed_weights()
        if weights is None:
            return super().through(x, spans, layers, taps)
        chosen = tuple(range(len(self.blocks)) if layers is None else layers)
        rows = tuple(span.rows for span in spans)
        with self._lock:
            return self._pass(chosen, rows, weights).run(x, spans, taps)

    def _packed_weights(self) -> list[PackedRows] | None:
        """All weights in order; None where an adapter stands around a layer.

        They may be others at every pass, so that the tables of modules are looked up: by the
        attributes of a module this takes a twentieth of a pass over one row.
        """
        if not self._tables:
            parts = [part for b in self.blocks_in_order for part in (b.attention, b.mlp)]
            self._tables = [part._modules for part in parts]
        found = [table[name] for table in self._tables for name in _LAYERS if name in table]
        packed = [layer for layer in found if isinstance(layer, PackedLinear)]
        if len(packed) < len(found):
            return None
        return [part.packed for layer in packed for part in layer.parts]

    def _pass(
        self, layers: tuple[int, ...], rows: tuple[int, ...], weights: list[PackedRows]
    ) -> _Pass:
        # The key has the identities of the weights: a kept pass keeps its own alive.
        key = (layers, rows, tuple(map(id, weights)), torch.get_num_threads())
        # Its memory outlives the mode that it happens to be made in.
        with torch.inference_mode(False):
            found = self._passes.pop(key, None) or _Pass(self, layers, rows)
        if sum(rows) <= _MOST_ROWS:
            self._passes[key] = found
        if len(self._passes) > _KEPT:
            self._passes.popitem(last=False)
        return found


class _Pass:
    """A compiled forward pass over sequences of given numbers of rows, run on any such sequences.

    Args:
        model: the transformer whose weights it reads.
        layers: indices of the layers to run.
        rows: number of rows of each sequence.
    """

    def __init__(
        self, model: PackedTransformer, layers: tuple[int, ...], rows: tuple[int, ...]
    ) -> None:
        config, total = model.config, sum(rows)
        self._heads, self._rotary, self._layers = heads_of(config), model.rotary, layers
        self._starts = [0, *accumulate(rows)]
        blocks = [model.blocks_in_order[i] for i in layers]
        # The kernels are given addresses; the tensors there must outlive the pass.
        self._kept = [(*b.parameters(), *b.buffers(), *_weights(b)) for b in blocks]
        wide = max(_packed(block.attention.qkv).padded for block in blocks)
        self._x = torch.empty(total, config.hidden_size)
        self._qkv = torch.empty(total, wide)
        self._attended = torch.empty(total, config.num_heads * config.head_dim)
        self._inner = torch.empty(total, config.intermediate_size)
        self._workspace = _workspace(blocks, total)
        launches: list[Launch] = []
        attends = []
        self._ends: list[int] = []
        """Number of launches up to the end of each layer."""
        for block in blocks:
            queries, rest = self._block(block)
            attends.append([len(launches) + len(queries) + i for i in range(len(rows))])
            launches += queries + rest
            self._ends.append(len(launches))
        self._attends: NDArray[np.int64] = np.array(attends, np.int64)
        """Numbers of the launches of attention, (layers, sequences)."""
        self._program = Program(launches)

    def _block(self, block: Block) -> tuple[list[Launch], list[Launch]]:
        """Launches before attention, and from attention on."""
        norms = [Norm(w, block.eps) for w in (block.attention_norm, block.mlp_norm)]
        layer, mlp = block.attention, block.mlp
        qk_norms = (layer.q_norm, layer.k_norm) if layer.config.qk_norm else None
        nowhere = attention.SpanAddresses(0, 0, 0, 0)
        attend = []
        for start, stop in zip(self._starts, self._starts[1:], strict=False):
            rows = slice(start, stop)
            qkv, out = self._qkv[rows], self._attended[rows]
            launch = attention.launch(qkv, out, self._heads, nowhere, (0, 0, 0), 0, norms=qk_norms)
            attend.append(launch)
        return self._product(self._x, layer.qkv, self._qkv, Finish.STORE, norms[0]), [
            *attend,
            *self._product(self._attended, layer.out, self._x, Finish.ADD),
            *self._product(self._x, mlp.gate_up, self._inner, Finish.SWIGLU, norms[1]),
            *self._product(self._inner, mlp.down, self._x, Finish.ADD),
        ]

    def _product(
        self, x: Tensor, layer: object, out: Tensor, finish: Finish, norm: Norm | None = None
    ) -> list[Launch]:
        linear = _packed(layer)
        given = [part.data_ptr() for part in self._workspace]
        found = []
        for part in linear.parts:
            bias = None if linear.padded_bias is None else linear.padded_bias[part.start :]
            to = out[:, part.start :]
            launch = product.launch(x, part.packed, to, given, norm=norm, bias=bias, finish=finish)
            found.append(launch)
        return found

    def run(self, x: Tensor, spans: Sequence[Span], taps: Taps | None = None) -> Tensor:
        """Run embedded rows (rows, hidden_size) of `spans`; returns hidden states, same shape.

        Raises:
            ValueError: the rows are not those of the spans, or a span exceeds its memory.
        """
        self._check(x, spans)
        self._x.copy_(x)
        sizes = [self._scratch_bytes(span) for span in spans]
        # The spans run one after another and share the scratch memory of the largest.
        (scratch,) = _scratch.place((max(sizes) * torch.get_num_threads(),))
        masks = [None if span.mask is None else span.mask.contiguous() for span in spans]
        # The kernels are given addresses; the tables there must outlive the run.
        tables = [self._rotary.of(span) for span in spans]
        for i, (span, mask, size) in enumerate(zip(spans, masks, sizes, strict=True)):
            self._point(i, span, mask, tables[i], (scratch, size))
        start = 0
        if taps is not None:
            for i in taps.layers:
                stop = self._ends[self._layers.index(i)]
                self._program.run(start, stop)
                taps.take(i, self._x)
                start = stop
        self._program.run(start)
        return self._x.clone()

    def _check(self, x: Tensor, spans: Sequence[Span]) -> None:
        """Refuse shapes that torch would refuse; the kernels, given addresses, would not."""
        if x.shape != self._x.shape:
            raise ValueError(f"{tuple(x.shape)} rows for spans of {tuple(self._x.shape)}")
        for span in spans:
            store, stop = span.store, span.start + span.rows
            room = min(store.capacity, len(self._rotary.cos))
            if store.dtype != torch.float32 or max(stop, span.visible) > room or span.start < 0:
                raise ValueError(f"{span} does not fit {room} positions in float32")
            if span.mask is not None and span.mask.shape != (span.rows, span.visible):
                raise ValueError(f"a mask of {tuple(span.mask.shape)} for {span}")

    def _point(
        self,
        i: int,
        span: Span,
        mask: Tensor | None,
        tables: tuple[Tensor, Tensor],
        scratch: tuple[int, int],
    ) -> None:
        """Point the attention of sequence `i` at `span` in every layer.

        `scratch` is the address of the scratch memory, and its bytes for each thread.
        """
        blocks = span.store.blocks
        keys, values = zip(*(blocks[layer] for layer in self._layers), strict=True)
        cos, sin = tables
        own, table = self._attends[:, i], self._program.table
        table[own, AttentionSlot.KEYS] = [part.data_ptr() for part in keys]
        table[own, AttentionSlot.VALUES] = [part.data_ptr() for part in values]
        same = {
            AttentionSlot.COS: cos.data_ptr(),
            AttentionSlot.SIN: sin.data_ptr(),
            AttentionSlot.HEAD_STRIDE: keys[0].stride(0) * keys[0].element_size(),
            AttentionSlot.START: span.start,
            AttentionSlot.VISIBLE: span.visible,
            AttentionSlot.MASK: 0 if mask is None else mask.data_ptr(),
            AttentionSlot.SCRATCH: scratch[0],
            AttentionSlot.SCRATCH_STRIDE: scratch[1],
        }
        for slot, value in same.items():
            table[own, slot] = value

    def _scratch_bytes(self, span: Span) -> int:
        tile = attention.tile_of(span.rows, self._heads)
        return scratch_bytes(span.visible, self._heads.head_dim, tile)


def _workspace(blocks: Sequence[Block], rows: int) -> list[Tensor]:
    """Workspace of the widest matrix product of the blocks."""
    weights = [each for block in blocks for each in _weights(block)]
    sizes = zip(*(product.workspace_sizes(rows, each) for each in weights), strict=True)
    return [torch.empty(max(size), dtype=torch.uint8) for size in sizes]


def _layers(block: Block) -> tuple[object, ...]:
    mlp = block.mlp
    return block.attention.qkv, block.attention.out, mlp.gate_up, mlp.down


def _weights(block: Block) -> list[PackedRows]:
    return [part.packed for layer in _layers(block) for part in _packed(layer).parts]


def _packed(layer: object) -> PackedLinear:
    assert isinstance(layer, PackedLinear)
    return layer


def heads_of(config: ModelConfig) -> attention.Heads:
    """Head counts and width of attention in a model of this configuration."""
    size = config.head_dim
    return attention.Heads(config.num_heads, config.num_kv_heads, size, config.norm_eps)


def prepare(model: Transformer) -> None:
    """Compile the CPU kernels that a model runs; takes a few seconds the first time."""
    if model.embedding.device.type == "cpu" and jit.allowed():
        prediction.prepare()
    layers = [layer for layer in model.modules() if isinstance(layer, PackedLinear)]
    for form in {part.packed.form for layer in layers for part in layer.parts}:
        product.prepare(form)
    if isinstance(model, PackedTransformer):
        attention.prepare(model.config.head_dim)
