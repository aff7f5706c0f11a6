"""The browser end: static files, no build step."""

from pathlib import Path


def static_files() -> Path:
    """The directory to serve under ``/``."""
    return Path(__file__).with_name("static")
