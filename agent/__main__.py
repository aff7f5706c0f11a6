"""``python -m agent`` is ``onebreath``."""

from agent.cli import main

main()
