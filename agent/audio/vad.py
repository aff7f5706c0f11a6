"""Voice activity detection (VAD): the speech probability of frames of 32 ms, by two detectors.

`SileroVad` is a network and `EnergyVad` compares levels. A gate holds the state of one call; the
network behind `SileroVad` is loaded once and shared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from agent.extras import pip_install

RATE = 16_000
"""Samples per second that every gate takes."""

FRAME_SAMPLES = 512
"""Samples per frame (32 ms)."""

Samples = NDArray[np.float32]


class VadError(Exception):
    """A gate could not be loaded; the message says what to do."""


class SpeechGate(Protocol):
    """Voice activity of one call, frame by frame."""

    @property
    def frame_samples(self) -> int:
        """Samples that `probability` takes, at 16 kHz."""

    def probability(self, frame: Samples) -> float:
        """Probability of speech in the next frame, float32 ``[frame_samples]`` in [-1, 1]."""

    def reset(self) -> None:
        """Return to the state at the start of a call."""


SpeechGateFactory = Callable[[], SpeechGate]
"""Makes the gate of one call."""


class SileroVad:
    """Silero VAD v6 (Silero Team, MIT), as the faster-whisper wheel carries it.

    The network takes a frame with the last 64 samples of the frame before it, and an LSTM state.
    """

    frame_samples = FRAME_SAMPLES
    _CONTEXT = 64

    def __init__(self, session: Any) -> None:
        """Make the gate of one call on a loaded network; see `load`."""
        self._session = session
        self._input = np.zeros((1, self._CONTEXT + FRAME_SAMPLES), dtype=np.float32)
        self._state = _no_state()

    @staticmethod
    def load(path: Path | None = None) -> SpeechGateFactory:
        """Load the network, by default the bundled one, and return the maker of gates.

        Raises `VadError` when the file is missing or is no ONNX model.
        """
        path = path or _bundled_model()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except _ONNX_ERRORS as error:
            raise VadError(
                f"cannot load the voice activity model {path}: {error}. "
                "Reinstall it: "
                + pip_install("--force-reinstall", "--no-deps", "faster-whisper>=1.2,<2")
            ) from error
        return lambda: SileroVad(session)

    def probability(self, frame: Samples) -> float:
        _check(frame)
        self._input[0, : self._CONTEXT] = self._input[0, -self._CONTEXT :]
        self._input[0, self._CONTEXT :] = frame
        h, c = self._state
        output, *self._state = self._session.run(None, {"input": self._input, "h": h, "c": c})
        return float(output.item())

    def reset(self) -> None:
        self._input.fill(0.0)
        self._state = _no_state()


class EnergyVad:
    """Voice activity by level over the noise floor; needs no model, but takes hum for speech.

    The floor falls to a quiet frame at once and rises slowly, so that steady noise becomes floor.
    """

    frame_samples = FRAME_SAMPLES
    _FLOOR_RISE = 1.02
    """Factor per frame by which the floor may rise: steady noise becomes floor within seconds."""
    _MIN_RMS = 0.003
    """Lowest floor, about -50 dBFS; a quieter frame is never speech."""
    _FULL_RATIO = 8.0
    """Level over the floor (18 dB) at which the probability is one."""

    def __init__(self) -> None:
        self._floor = self._MIN_RMS

    def probability(self, frame: Samples) -> float:
        _check(frame)
        rms = float(np.sqrt(np.mean(np.square(frame))))
        self._floor = max(min(rms, self._floor * self._FLOOR_RISE), self._MIN_RMS)
        return float(np.clip((rms / self._floor - 1.0) / (self._FULL_RATIO - 1.0), 0.0, 1.0))

    def reset(self) -> None:
        self._floor = self._MIN_RMS


_ONNX_ERRORS: tuple[type[Exception], ...] = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.NoSuchFile,
)


def _check(frame: Samples) -> None:
    if frame.shape != (FRAME_SAMPLES,):
        raise ValueError(f"a frame is {FRAME_SAMPLES} samples of 16 kHz mono, not {frame.shape}")


def _no_state() -> list[Samples]:
    """h and c of the LSTM at the start of a call."""
    return [np.zeros((1, 1, 128), dtype=np.float32) for _ in "hc"]


def _bundled_model() -> Path:
    """The file in faster-whisper's wheel, found without importing that package (0.3 s)."""
    spec = importlib.util.find_spec("faster_whisper")
    if spec is None or spec.origin is None:
        raise VadError("the voice activity model comes with faster-whisper: install it")
    path = Path(spec.origin).parent / "assets" / "silero_vad_v6.onnx"
    if not path.is_file():
        raise VadError(f"no {path}: install faster-whisper 1.2 or newer")
    return path
