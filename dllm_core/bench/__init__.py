"""Measurements of the engine: `python -m dllm_core.bench`, or `onebreath bench`."""
