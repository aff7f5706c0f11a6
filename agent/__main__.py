"""``python -m agent`` is ``onebreath``."""

from agent.cli.main import main

main()
