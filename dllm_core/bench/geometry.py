"""Writes a GGUF file of a published geometry with random weights, to measure without a download.

    python -m dllm_core.bench.geometry qwen3-0.6b Q4_K_M FILE.gguf

Weights are random blocks of the file's formats, small enough that no number overflows: the time of
loading and of a step does not depend on their values. The vocabulary has the published size; its
words are made up. Formats by layer follow llama.cpp's own choices for the named mixture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, TokenType
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

_Type = GGMLQuantizationType
_STEP = 0.002
"""Size of a step between two levels; weights have a deviation of about ten times that."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of a model, with the names of GGUF's metadata."""

    arch: str
    vocab: int
    embedding_length: int
    feed_forward_length: int
    block_count: int
    head_count: int
    head_count_kv: int
    key_length: int
    context_length: int
    rope_base: float
    qk_norm: bool


GEOMETRIES = {
    "qwen3-0.6b": Geometry("qwen3", 151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e6, True),
    "smollm2-135m": Geometry("llama", 49152, 576, 1536, 30, 9, 3, 64, 8192, 1e5, False),
    "tiny": Geometry("qwen3", 512, 256, 512, 2, 4, 2, 64, 256, 1e4, True),
}

MIXTURES: dict[str, tuple[_Type, _Type, _Type]] = {
    "Q4_0": (_Type.Q4_0, _Type.Q4_0, _Type.Q6_K),
    "Q4_1": (_Type.Q4_1, _Type.Q4_1, _Type.Q6_K),
    "Q8_0": (_Type.Q8_0, _Type.Q8_0, _Type.Q8_0),
    "F16": (_Type.F16, _Type.F16, _Type.F16),
    "BF16": (_Type.BF16, _Type.BF16, _Type.BF16),
    "Q4_K_M": (_Type.Q4_K, _Type.Q6_K, _Type.Q6_K),
    "Q5_K_M": (_Type.Q5_K, _Type.Q6_K, _Type.Q6_K),
    "Q6_K": (_Type.Q6_K, _Type.Q6_K, _Type.Q6_K),
}
"""Format of most matrices; of the values and the down projection in half of the layers; of the
embedding, which is the head as well."""

_HALVES: dict[_Type, tuple[tuple[int, float], ...]] = {
    _Type.Q4_0: ((0, _STEP),),
    _Type.Q4_1: ((0, _STEP), (2, -8 * _STEP)),
    _Type.Q8_0: ((0, _STEP / 8),),
    _Type.Q4_K: ((0, _STEP / 32), (2, _STEP / 4)),
    _Type.Q5_K: ((0, _STEP / 64), (2, _STEP / 4)),
    _Type.Q6_K: ((208, _STEP / 256),),
}
"""Places in a block of its float16 numbers, and their values; all other bytes are random."""


def blocks(kind: _Type, rows: int, columns: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    """Random rows in a format of GGUF: (rows, bytes of a row)."""
    block, size = GGML_QUANT_SIZES[kind]
    if kind not in _HALVES:
        values = draw.standard_normal((rows, columns), np.float32) * (10 * _STEP)
        if kind is _Type.BF16:
            found = (values.view(np.uint32) >> 16).astype(np.uint16)
        else:
            found = values.astype(np.float32 if kind is _Type.F32 else np.float16)
        return found.view(np.uint8)
    raw = np.frombuffer(draw.bytes(rows * columns // block * size), np.uint8).copy()
    raw = raw.reshape(rows, columns // block, size)
    for at, value in _HALVES[kind]:
        spread = draw.uniform(0.5, 1.5, raw.shape[:2]).astype(np.float32)
        raw[..., at : at + 2] = (spread * value).astype("<f2")[..., None].view(np.uint8)
    return raw.reshape(rows, -1)


def _vocabulary(size: int) -> tuple[list[str], list[str]]:
    """Words and merges: single bytes, then pairs and triples of them, then special tokens."""
    letters = sorted(ByteLevel.alphabet())
    count = size - len(letters) - len(_SPECIAL)
    pairs = [(a, b) for a, b in product(letters, letters)][: max(0, count)]
    triples = ((a + b, c) for (a, b), c in product(pairs, letters))
    merges = [*pairs, *(next(triples) for _ in range(count - len(pairs)))]
    words = [*letters, *(a + b for a, b in merges), *_SPECIAL]
    return words, [f"{a} {b}" for a, b in merges]


_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(shape: Geometry, mixture: str, path: Path, seed: int = 0) -> Path:
    """Write a file of this shape, with weights drawn from `seed`; returns its path."""
    writer = GGUFWriter(path, shape.arch)
    _write_metadata(writer, shape)
    draw = np.random.default_rng(seed)
    most, some, head = MIXTURES[mixture]

    def matrix(name: str, rows: int, columns: int, kind: _Type) -> None:
        writer.add_tensor(name, blocks(kind, rows, columns, draw), raw_dtype=kind)

    def norm(name: str, width: int) -> None:
        writer.add_tensor(name, draw.uniform(0.5, 1.5, width).astype(np.float32))

    matrix("token_embd.weight", shape.vocab, shape.embedding_length, head)
    norm("output_norm.weight", shape.embedding_length)
    for layer in range(shape.block_count):
        wide = some if layer % 2 == 0 else most
        _write_block(shape, f"blk.{layer}", (most, wide), matrix, norm)
    for step in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
    ):
        step()
    writer.close()
    return path


def _write_metadata(writer: GGUFWriter, shape: Geometry) -> None:
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding_length)
    writer.add_feed_forward_length(shape.feed_forward_length)
    writer.add_block_count(shape.block_count)
    writer.add_head_count(shape.head_count)
    writer.add_head_count_kv(shape.head_count_kv)
    writer.add_key_length(shape.key_length)
    writer.add_value_length(shape.key_length)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocab)
    if shape.arch == "llama":
        writer.add_rope_dimension_count(shape.key_length)
    words, merges = _vocabulary(shape.vocab)
    plain = len(words) - len(_SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if shape.arch == "qwen3" else "smollm")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.NORMAL] * plain + [TokenType.CONTROL] * len(_SPECIAL))
    writer.add_token_merges(merges)
    writer.add_eos_token_id(plain + _SPECIAL.index("<|im_end|>"))
    writer.add_chat_template(_TEMPLATE)


def _write_block(
    shape: Geometry,
    name: str,
    kinds: tuple[_Type, _Type],
    matrix: Callable[[str, int, int, _Type], None],
    norm: Callable[[str, int], None],
) -> None:
    most, wide = kinds
    hidden, inner, size = shape.embedding_length, shape.feed_forward_length, shape.key_length
    norm(f"{name}.attn_norm.weight", hidden)
    norm(f"{name}.ffn_norm.weight", hidden)
    if shape.qk_norm:
        norm(f"{name}.attn_q_norm.weight", size)
        norm(f"{name}.attn_k_norm.weight", size)
    matrix(f"{name}.attn_q.weight", shape.head_count * size, hidden, most)
    matrix(f"{name}.attn_k.weight", shape.head_count_kv * size, hidden, most)
    matrix(f"{name}.attn_v.weight", shape.head_count_kv * size, hidden, wide)
    matrix(f"{name}.attn_output.weight", hidden, shape.head_count * size, most)
    matrix(f"{name}.ffn_gate.weight", inner, hidden, most)
    matrix(f"{name}.ffn_up.weight", inner, hidden, most)
    matrix(f"{name}.ffn_down.weight", hidden, inner, wide)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("geometry", choices=GEOMETRIES)
    parser.add_argument("mixture", choices=MIXTURES)
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    write(GEOMETRIES[given.geometry], given.mixture, given.file)


if __name__ == "__main__":
    main()
