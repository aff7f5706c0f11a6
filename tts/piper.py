"""Piper voices, spoken by a worker process.

The worker alone imports piper-tts, whose licence is GPL-3.0-or-later; its threads are its own.
"""

from __future__ import annotations

from pathlib import Path

from tts.engine import TtsError
from tts.remote import RemoteSynthesizer

DEVICES = ("cpu", "cuda")


class PiperSynthesizer(RemoteSynthesizer):
    """A single-speaker Piper voice; the first sound comes before the sentence is decoded."""

    def __init__(
        self,
        voice: str | Path,
        *,
        threads: int = 1,
        device: str = "cpu",
        length_scale: float = 1.0,
        noise_scale: float = 0.667,
        duration_noise: float = 0.8,
        gain: float = 1.0,
        sentence_pause: float = 0.2,
        clause_pause: float = 0.08,
        start_seconds: float = 60.0,
        lexicon: Path | None = None,
    ) -> None:
        """Start the worker and load the voice.

        Args:
            voice: the ``.onnx`` file; its ``.onnx.json`` must lie beside it.
            threads: cores that the worker may use.
            device: ``cpu`` or ``cuda``; the latter needs onnxruntime-gpu.
            length_scale: above 1 speaks slower.
            noise_scale: variation of the sound; 0, as ``duration_noise``, makes it repeatable.
            duration_noise: variation of the rhythm.
            gain: factor on the samples, the same for every sentence; above 1 the sound may clip.
            sentence_pause: seconds of silence after a sentence.
            clause_pause: seconds of silence after text that ends without ``.``, ``!`` or ``?``.
            start_seconds: bound on loading.
            lexicon: file with the user's own words; those in IPA are spoken so.

        Raises:
            TtsError: an option is out of bounds, or the voice is missing, damaged or unsupported.
        """
        path = Path(voice).expanduser().resolve()
        for needed in (path, path.with_name(path.name + ".json")):
            if not needed.is_file():
                raise TtsError(
                    f"no voice file at {needed}; a Piper voice is an .onnx and an .onnx.json"
                )
        _check(
            device,
            threads,
            (length_scale, gain),
            (noise_scale, duration_noise, sentence_pause, clause_pause),
        )
        options = {
            "threads": threads,
            "device": device,
            "length": length_scale,
            "noise": noise_scale,
            "duration-noise": duration_noise,
            "gain": gain,
            "sentence-pause": sentence_pause,
            "clause-pause": clause_pause,
        }
        if lexicon is not None:
            options["lexicon"] = str(Path(lexicon).resolve())
        super().__init__(
            "tts.piper_worker",
            [str(path), *(f"--{name}={value}" for name, value in options.items())],
            environment={"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
            start_seconds=start_seconds,
        )


def _check(
    device: str, threads: int, above_zero: tuple[float, ...], not_negative: tuple[float, ...]
) -> None:
    """Refuse options out of bounds.

    Raises:
        TtsError: with the bound.
    """
    if device not in DEVICES:
        raise TtsError(f"Piper runs on {' or '.join(DEVICES)}, not on {device!r}")
    if threads < 1 or min(above_zero) <= 0:
        raise TtsError("threads must be at least 1, length_scale and gain above 0")
    if min(not_negative) < 0:
        raise TtsError("noise and pauses must not be negative")
