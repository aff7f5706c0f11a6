"""Spoken questions that come with the package, for the demo and the bench."""

from pathlib import Path


def bundled_questions() -> list[Path]:
    """16 kHz mono WAV files, the one for the demo first."""
    return sorted(Path(__file__).parent.glob("*.wav"))
