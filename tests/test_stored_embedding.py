"""An embedding in the format of its file gives the rows, and the logits, of one in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize
from safetensors.torch import load_file, save_file
from support.checkpoints import write_checkpoint
from support.tiny import tiny_cache

from dllm_core import Engine
from dllm_core.bench import geometry
from dllm_core.model.lazy_tensors import Stored
from dllm_core.model.stored_embedding import StoredEmbedding
from dllm_core.model.transformer import Span, visibility

ROWS, WIDTH = 200, 256
KINDS = ["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16"]


def stored(kind: str) -> tuple[StoredEmbedding, torch.Tensor]:
    """An embedding of random rows, and the floats that the library decodes."""
    named = GGMLQuantizationType[kind]
    raw = geometry.blocks(named, ROWS, WIDTH, np.random.default_rng(0))
    raw = np.ascontiguousarray(raw).view(np.uint8).reshape(ROWS, -1)
    whole = torch.from_numpy(dequantize(raw, named).astype(np.float32, copy=False))
    tensor = Stored((ROWS, WIDTH), lambda rows: whole[rows], None, lambda rows: raw[rows], kind)
    embedding = StoredEmbedding.of(tensor)
    assert embedding is not None
    return embedding, whole


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_library_to_the_bit(kind: str) -> None:
    embedding, whole = stored(kind)
    assert embedding.raw.nbytes < (0.51 if "F16" in kind else 0.27) * whole.nbytes
    ids = torch.tensor([[3, 199, 0], [3, 7, 3]])
    assert torch.equal(embedding[ids], whole[ids])
    assert torch.equal(embedding[[5, 1]], whole[[5, 1]])
    assert torch.equal(embedding[-1], whole[-1])
    assert torch.equal(embedding[::64], whole[::64])
    assert torch.equal(embedding[ids[:0]], whole[ids[:0]])
    torch.testing.assert_close(embedding.mean(0), whole.mean(0))
    with pytest.raises(IndexError):
        embedding[[ROWS]]


def test_a_row_that_is_replaced() -> None:
    embedding, whole = stored("Q8_0")
    embedding[7] = torch.full((WIDTH,), 0.5)
    embedding[8] = 0.0
    found = embedding[[6, 7, 8, 7]]
    assert torch.equal(found[0], whole[6])
    assert bool((found[[1, 3]] == 0.5).all())
    assert not found[2].any()
    found += 1
    assert torch.equal(embedding[6], whole[6])


def test_floats_in_memory_stay_what_they_are() -> None:
    whole = torch.randn(5, 8)
    assert StoredEmbedding.of(whole) is None
    assert StoredEmbedding.of(Stored((5, 8), lambda rows: whole[rows])) is None


def logits(engine: Engine) -> torch.Tensor:
    ids = torch.arange(20)
    span = Span(tiny_cache(engine.model).store, 0, 20, 20, visibility(engine.config, 0, 20, 20))
    return engine.model.logits(engine.model(ids, [span]))


@pytest.mark.kernels
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_logits_are_those_of_the_embedding_in_float32(kind: torch.dtype, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path, "llama") / "model.safetensors"
    save_file({name: tensor.to(kind) for name, tensor in load_file(file).items()}, file)
    engine = Engine.load(tmp_path, dtype="int8")
    embedding = engine.model.embedding
    assert isinstance(embedding, StoredEmbedding)
    assert embedding.raw.shape[1] == 32 * kind.itemsize
    kept = logits(engine)
    engine.model.use_embedding(embedding[:])
    assert torch.equal(logits(engine), kept)


def test_an_embedding_may_be_shared_by_models_of_either_kind(tmp_path: Path) -> None:
    embedding, whole = stored("Q8_0")
    plain = Engine.load(write_checkpoint(tmp_path, "llama"), dtype="float32").model
    plain.use_embedding(embedding)
    assert torch.equal(plain.embedding[[1, 2]], whole[[1, 2]])
    assert "embedding" not in dict(plain.named_parameters())
