"""The operations of a step on the GPU: a Triton kernel each, and plain torch beside it.

An operation `f` runs its kernel on CUDA tensors and `f.reference` on all others; both can be
called by name (`f.kernel`, `f.reference`), and `kernels()` or `references()` choose for a whole
block of code. No kernel waits for the device or allocates by what tensors contain, so all can
be captured in a CUDA graph.

Words that every operation shares: `B` calls are denoised together, each has `rows` rows, and
`R = B * rows` rows lie one call after another. `live` is int32 (B,), 0 where a call is done or
its place is empty: kernels return early there, and what such rows hold afterwards is
unspecified. Keys and values of a layer lie in pages of `PAGE` positions: (pages, n_kv, PAGE, d).

`python -m dllm_core.ops.check` compares all kernels with plain torch at true geometry,
`python -m dllm_core.ops.tune` then times them.
"""

from dllm_core.ops.dispatch import Operation, available, kernels, references

__all__ = ["PAGE", "Operation", "available", "kernels", "references"]

PAGE = 64
"""Positions of one page of keys and values."""
