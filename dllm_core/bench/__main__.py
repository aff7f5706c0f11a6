"""Entry point of `python -m dllm_core.bench`."""

from dllm_core.bench.main import main

main()
