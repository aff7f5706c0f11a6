"""The operations of a step on the GPU: a Triton kernel each, and plain torch beside it.

An operation `f` runs its kernel on CUDA tensors and `f.reference` on all others; both can be
called by name (`f.kernel`, `f.reference`), and `kernels()` or `references()` choose for a whole
block of code. Kernels neither wait for the device nor allocate by the contents of tensors, so all
of them can be captured in a CUDA graph.

Symbols that all operations share: `B` sequences are denoised together, each has `rows` rows, and
their `R = B * rows` rows lie one sequence after another. `live` is int32 (B,), 0 where a sequence
is done or its place in the batch is empty: kernels return early there, and the contents of such
rows afterwards are unspecified. Keys and values of a layer lie in pages of `PAGE` positions:
(pages, n_kv, PAGE, d).

`python -m dllm_core.ops.check` compares all kernels with plain torch at true geometry,
`python -m dllm_core.ops.tune` then times them.
"""

from dllm_core.ops.dispatch import Operation, available, kernels, references

__all__ = ["PAGE", "Operation", "available", "kernels", "references"]

PAGE = 64
"""Positions of one page of keys and values."""
