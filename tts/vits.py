"""A VITS voice cut into three graphs, so that sound can start before the sentence is decoded.

VITS (Kim, Kong and Son, 2021, "Conditional Variational Autoencoder with Adversarial Learning for
End-to-End Text-to-Speech") is exported for Piper as a single ONNX graph: text encoder and duration
predictor -> flow -> HiFi-GAN decoder. The first part needs the whole sentence but is cheap. The
other two are convolutions: an output frame depends on a bounded number of neighbours. So a window
decoded with that many extra frames on both sides, which are then dropped, equals the same stretch
of the whole decode. The number of extra frames is computed from the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.utils import Extractor

FIRST_FRAMES = 20
"""Latent frames in the first piece: 232 ms at 22,050 Hz and 256 samples per frame, of which some 50
are silence. Shorter, and a busy machine would not have the second piece in time."""
LARGEST_FRAMES = 64
"""Bound of a piece; larger ones save little and make other requests wait."""


Device = Literal["cpu", "cuda"]

_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class UnsupportedDevice(Exception):
    """The voice cannot run there; the message says what to do."""


class UnsupportedVoice(Exception):
    """The graph is not a single-speaker VITS export; the message names what is missing."""


@dataclass(frozen=True, slots=True)
class Scales:
    """The three scales that VITS takes at run time.

    Attributes:
        noise: variation of the sound; 0 makes it deterministic.
        length: factor on the duration; above 1 is slower.
        duration_noise: variation of the rhythm; 0 makes it deterministic.
    """

    noise: float = 0.667
    length: float = 1.0
    duration_noise: float = 0.8


@dataclass(frozen=True, slots=True)
class Prior:
    """A sentence after the text encoder; the flow turns it into the decoder's latent.

    Attributes:
        values: [1, channels, frames], noise already added.
        mask: [1, 1, frames], all ones.
        frames_per_id: [ids], duration of each input id in frames; sums to ``frames``.
    """

    values: NDArray[np.float32]
    mask: NDArray[np.float32]
    frames_per_id: NDArray[np.int64]


def piece_bounds(total: int) -> Iterator[tuple[int, int]]:
    """Cut ``total`` frames into a small first piece and growing ones; the last may be longer.

    A rest shorter than the first piece is not worth its margins and joins the piece before it.
    """
    start, size = 0, FIRST_FRAMES
    while start < total:
        end = start + size
        if total - end < FIRST_FRAMES:
            end = total
        yield start, end
        start, size = end, min(size * 3 // 2, LARGEST_FRAMES)


class Vits:
    """A loaded single-speaker voice; it keeps no state between calls."""

    def __init__(self, model: Path, *, threads: int = 1, device: Device = "cpu") -> None:
        """Cut and load ``model``.

        On a GPU the text encoder stays on the processor: its many tiny operations would each wait
        for the device.

        Raises:
            UnsupportedVoice: the file is no ONNX graph, or not of the expected structure.
            UnsupportedDevice: this onnxruntime does not reach a GPU.
        """
        text, flow, decoder = _cut(_load(model))
        self._text = _session(text, threads, "cpu")
        self._flow = _Window(flow, threads, device)
        self._decoder = _Window(decoder, threads, device)
        self.hop = self._decoder.rate
        """Samples per latent frame."""

    def encode(self, ids: Sequence[int], scales: Scales) -> Prior:
        """Run the text encoder and the duration predictor on one sentence of phoneme ids."""
        values, mask, frames = self._text.run(
            None,
            {
                "input": np.asarray([ids], np.int64),
                "input_lengths": np.asarray([len(ids)], np.int64),
                "scales": np.asarray(
                    [scales.noise, scales.length, scales.duration_noise], np.float32
                ),
            },
        )
        return Prior(values, mask, frames.reshape(-1).astype(np.int64))

    def decode(self, prior: Prior) -> Iterator[NDArray[np.float32]]:
        """Yield the sound of a sentence piece by piece, each float32 [samples] in [-1, 1]."""
        total = prior.values.shape[-1]
        latent = np.empty((1, prior.values.shape[1], 0), np.float32)
        for start, end in piece_bounds(total):
            done, needed = latent.shape[-1], min(total, end + self._decoder.margin)
            if needed > done:
                fresh = self._flow.run(done, needed, prior.values, prior.mask)
                latent = np.concatenate([latent, fresh], axis=-1)
            yield self._decoder.run(start, end, latent).reshape(-1)

    def decode_whole(self, prior: Prior) -> NDArray[np.float32]:
        """The same sound in a single piece: the reference that ``decode`` must equal."""
        total = prior.values.shape[-1]
        latent = self._flow.run(0, total, prior.values, prior.mask)
        return self._decoder.run(0, total, latent).reshape(-1)


class _Window:
    """A convolutional graph that computes any stretch of its output exactly."""

    def __init__(self, model: onnx.ModelProto, threads: int, device: Device) -> None:
        self.margin, self.rate = _reach(model)
        self._session = _session(model, threads, device)
        self._names = [entry.name for entry in self._session.get_inputs()]

    def run(self, start: int, end: int, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output of the input frames [start, end); the inputs are [1, channels, frames]."""
        low, high = max(0, start - self.margin), end + self.margin
        window = [tensor[..., low:high] for tensor in inputs]
        output: NDArray[np.float32] = self._session.run(
            None, dict(zip(self._names, window, strict=True))
        )[0]
        return output[..., (start - low) * self.rate : (end - low) * self.rate]


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path))
    except FileNotFoundError:
        raise UnsupportedVoice(f"no voice file at {path}") from None
    except Exception as error:  # protobuf's DecodeError has a private, changing home
        raise UnsupportedVoice(f"{path} is not an ONNX file ({error}); fetch it again") from error


def _session(model: onnx.ModelProto, threads: int, device: Device) -> onnxruntime.InferenceSession:
    wanted = _PROVIDERS[device]
    if wanted not in onnxruntime.get_available_providers():
        raise UnsupportedDevice(
            "this onnxruntime is built for processors only: use the device cpu, or replace it by "
            "onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads take the cores away from the recogniser and the language model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Operations that CUDA lacks run on the processor; naming it twice would be warned of.
    providers = list(dict.fromkeys([wanted, _PROVIDERS["cpu"]]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    # Where CUDA cannot be initialised, onnxruntime only warns and goes on without it.
    if wanted not in session.get_providers():
        raise UnsupportedDevice(
            "onnxruntime cannot start CUDA, see its message above: use the device cpu"
        )
    return session


def _cut(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, onnx.ModelProto]:
    """Cut the graph at the noisy prior and at the decoder's latent."""
    inputs = [entry.name for entry in model.graph.input]
    if inputs != ["input", "input_lengths", "scales"]:
        raise UnsupportedVoice(f"not a single-speaker Piper voice: its inputs are {inputs}")
    graph = _Graph(model.graph)
    durations = graph.durations()
    prior = graph.prior(durations)
    latent = graph.latent()
    mask = graph.mask(prior, latent)
    extractor = Extractor(model)
    return (
        extractor.extract_model(inputs, [prior, mask, durations]),
        extractor.extract_model([prior, mask], [latent]),
        extractor.extract_model([latent], [model.graph.output[0].name]),
    )


class _Graph:
    """Finds the tensors to cut at by the structure of the graph: exporters change the names."""

    def __init__(self, graph: Any) -> None:
        self._nodes = list(graph.node)
        self._producer = {name: node for node in graph.node for name in node.output}
        self._constants = {entry.name for entry in graph.initializer}

    def durations(self) -> str:
        """Frames per id: the output of the only Ceil, as durations are rounded up."""
        found = [node for node in self._nodes if node.op_type == "Ceil"]
        return str(self._only(found, "rounding of durations").output[0])

    def prior(self, durations: str) -> str:
        """Mean plus scaled noise: the first Add after the noise that is as long as the sound."""
        after = self._descendants(durations)
        noise = [
            node
            for node in self._nodes
            if node.op_type == "RandomNormalLike" and node.output[0] in after
        ]
        noisy = self._descendants(self._only(noise, "noise source").output[0])
        for node in self._nodes:
            if node.op_type == "Add" and node.output[0] in noisy:
                return str(node.output[0])
        raise UnsupportedVoice("not a VITS graph: no sum of prior and noise")

    def latent(self) -> str:
        """The input of the decoder's first convolution, which precedes the first upsampling."""
        for node in self._nodes:
            if node.op_type != "ConvTranspose":
                continue
            while node is not None and node.op_type != "Conv":
                node = self._producer.get(node.input[0])
            if node is not None:
                return str(node.input[0])
        raise UnsupportedVoice("not a VITS graph: no convolution before an upsampling")

    def mask(self, prior: str, latent: str) -> str:
        """The only tensor, besides the prior, that the flow takes from outside."""
        flow = self._descendants(prior, until=latent)
        inside = [node for node in self._nodes if any(name in flow for name in node.output)]
        outside = {
            name
            for node in inside
            for name in node.input
            if name and name not in flow and name not in self._constants and name != prior
        }
        outside = {name for name in outside if self._producer[name].op_type != "Constant"}
        return str(self._only(sorted(outside), "mask of the flow"))

    def _descendants(self, name: str, until: str | None = None) -> set[str]:
        found = {name}
        for node in self._nodes:
            if any(source in found and source != until for source in node.input):
                found.update(node.output)
        return found - {name}

    @staticmethod
    def _only(found: Sequence[Any], what: str) -> Any:
        if len(found) != 1:
            raise UnsupportedVoice(f"not a VITS graph: expected one {what}, found {len(found)}")
        return found[0]


def _reach(model: onnx.ModelProto) -> tuple[int, int]:
    """Half the receptive field in input frames (an upper bound), and output per input frame."""
    kernels = {entry.name: list(entry.dims)[2:] for entry in model.graph.initializer}
    reach = {entry.name: (Fraction(0), 1) for entry in model.graph.input}
    for node in model.graph.node:
        known = [reach[name] for name in node.input if name in reach]
        if not known:
            continue
        radius, rate = max(entry[0] for entry in known), max(entry[1] for entry in known)
        if node.op_type in ("Conv", "ConvTranspose"):
            attributes = {entry.name: list(entry.ints) for entry in node.attribute}
            (kernel,) = kernels[node.input[1]]
            if node.op_type == "Conv":
                radius += Fraction(attributes.get("dilations", [1])[0] * (kernel - 1), 2 * rate)
            else:
                rate *= attributes["strides"][0]
                radius += Fraction(kernel, rate)
        reach.update((name, (radius, rate)) for name in node.output)
    radius, rate = reach[model.graph.output[0].name]
    return math.ceil(radius), rate
