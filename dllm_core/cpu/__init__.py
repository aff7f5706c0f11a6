"""Kernels of a CPU: quantised products and attention, compiled when they are first needed.

Their plain version is torch over `PackedRows.unpacked` and `dllm_core.model.transformer`;
`tests/test_cpu_*.py` compare the two. ADR 17 has the reasons.
"""
