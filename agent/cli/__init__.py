"""The command line: ``onebreath`` and its commands."""
