"""Replies on a GPU: sequences share rounds of steps, each captured as one CUDA graph.

docs/gpu.md describes the parts; `dllm_core.ops` has the kernels.
"""
