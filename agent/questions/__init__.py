"""Spoken questions that come with the package, for demo, benchmarks and latency test."""

from pathlib import Path


def bundled_questions() -> list[Path]:
    """Return the bundled WAV files (16 kHz mono), the demo's question first."""
    return sorted(Path(__file__).parent.glob("*.wav"))
