"""The browser end: static files, no build step."""

from pathlib import Path


def page() -> Path:
    """The start page."""
    return Path(__file__).with_name("index.html")
