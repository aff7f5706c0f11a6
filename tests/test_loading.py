"""Loading: what it holds in memory, what it reads, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import write_checkpoint
from support.sharded import SMALL, shapes, write_random, write_sparse
from support.smollm import smollm_path

from dllm_core import Engine, ModelFileError, WeightsError
from dllm_core.model import checkpoint
from dllm_core.model.weights import slots

ROOT = Path(__file__).parents[1]
PEAK = Path(__file__).parent / "support" / "peak_memory.py"

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def measured(*arguments: str | Path) -> dict[str, int]:
    """What peak_memory.py prints, run as a program of its own."""
    done = subprocess.run(
        [sys.executable, PEAK, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        timeout=300,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {name: value for name, value in SMALL.items() if name != "mask_token_id"}
    return write_random(tmp_path_factory.mktemp("shards"), values)


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "megabytes"),
    [
        pytest.param("float32", 538, marks=pytest.mark.long),
        pytest.param("bfloat16", 269, marks=pytest.mark.long),
        ("int8", 281),
    ],
)
def test_loading_holds_little_more_than_the_weights(
    shards: Path, dtype: str, megabytes: int, tmp_path: Path
) -> None:
    tiny, loaded = measured(write_checkpoint(tmp_path, "llama"), dtype), measured(shards, dtype)
    assert loaded["weights"] == pytest.approx(megabytes * 1e6, rel=0.02)
    grown = loaded["peak"] - tiny["peak"]
    assert grown <= 1.1 * (loaded["weights"] - tiny["weights"]), grown / loaded["weights"]


@linux
@pytest.mark.slow
@pytest.mark.model
def test_four_bit_weights_are_not_kept_twice(tmp_path: Path) -> None:
    """Nor are they ever float32, which would be 538 MB."""
    tiny = measured(write_checkpoint(tmp_path, "llama"), "int8")
    loaded = measured(smollm_path(), "int4")
    # The vocabulary and its merges weigh something beside a model this small, and packing many
    # small pieces leaves holes in the heap.
    assert loaded["peak"] - tiny["peak"] <= 1.1 * loaded["weights"] + 80e6


@linux
@pytest.mark.slow
@pytest.mark.model
def test_a_first_load_that_keeps_its_weights_holds_some_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers go to the file one by one; most of the rest is the vocabulary."""
    tiny = measured(write_checkpoint(tmp_path / "tiny", "llama"), "int8")
    monkeypatch.setenv("ONEBREATH_PACKED_WEIGHTS", str(tmp_path / "packed"))
    loaded = measured(smollm_path(), "int4")
    assert list((tmp_path / "packed").glob("*.packed"))
    assert loaded["peak"] - tiny["peak"] <= 0.9 * loaded["weights"]


@linux
@pytest.mark.slow
def test_opening_a_large_checkpoint_reads_headers_only(tmp_path: Path) -> None:
    path = write_sparse(tmp_path)
    assert sum(file.stat().st_size for file in path.glob("*.safetensors")) > 16e9
    before = _resident()
    found = checkpoint.find(path, {"eos_ids": (256,)})
    tensors = dict(found.tensors)
    assert tensors.keys() == slots(found.config, found.names).keys()
    assert {name: tuple(t.shape) for name, t in tensors.items()} == shapes(found.config)
    for tensor in list(tensors.values())[::40]:
        assert not tensor[-3:].any()
    assert _resident() - before < 64e6


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_everything_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llama") / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.0.extra.weight"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
    tensors["model.norm.weight"] = torch.zeros(33)
    tensors["model.layers.1.mlp.down_proj.weight"] = torch.zeros(48, 32)
    save_file(tensors, path)
    with pytest.raises(WeightsError) as caught:
        Engine.load(tmp_path)
    message = str(caught.value)
    assert "1 missing: model.layers.0.mlp.up_proj.weight." in message
    assert "1 unexpected: model.layers.0.extra.weight." in message
    assert "2 of another shape: " in message
    assert "model.norm.weight has (33,) instead of (32,)" in message
    assert "model.layers.1.mlp.down_proj.weight has (48, 32) instead of (32, 48)" in message


def test_a_tensor_in_two_shards_is_named(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llama") / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({"model.norm.weight": tensors["model.norm.weight"]}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"1 there more than once: model\.norm\.weight"):
        Engine.load(tmp_path)


def test_quantised_shards_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llama") / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(48, 32, dtype=torch.int8)
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"up_proj\.weight in .* holds I8"):
        Engine.load(tmp_path)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llama") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"model\.safetensors is missing or damaged"):
        Engine.load(tmp_path)


def change(path: Path, **values: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_special_ids_that_are_plain_text_to_the_tokenizer_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llada")
    change(path, eos_token_id=65)
    with pytest.raises(WeightsError, match=r"65 among eos_ids, which to the tokenizer is '.*'"):
        Engine.load(path)
    assert Engine.load(path, config={"eos_ids": (65,)}).config.eos_ids == (65,)
    change(path, eos_token_id=256, mask_token_id=3)
    with pytest.raises(WeightsError, match=r"3 among mask_id"):
        Engine.load(path)


def test_a_mask_token_that_the_tokenizer_names_otherwise_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llada")
    (path / "tokenizer_config.json").write_text(json.dumps({"mask_token": "<start>"}))
    with pytest.raises(WeightsError, match="mask token is 258, the tokenizer's 257"):
        Engine.load(path)
    assert Engine.load(path, config={"mask_id": 258}).config.mask_id == 258


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llada")
    change(path, embedding_size=300)
    with pytest.raises(WeightsError, match=r"wte\.weight has \(259, 32\) instead of \(300, 32\)"):
        Engine.load(path)


def test_ends_that_only_generation_knows_count_too(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llama")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [257, 256]}))
    assert Engine.load(path).config.eos_ids == (256, 257)


CACHED = """
import sys
from dllm_core import Engine, ModelFileError
print(Engine.load("owner/tiny").config.family)
try:
    Engine.load("owner/absent")
except ModelFileError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_hugging_face_name_is_found_in_the_cache_without_a_network(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--tiny"
    write_checkpoint(repository / "snapshots" / "abc", "llada")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    done = subprocess.run(
        [sys.executable, "-c", CACHED],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": str(tmp_path),
        },
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    family, refusal = done.stdout.splitlines()
    assert family == "llada"
    assert refusal.startswith("There is no path owner/absent, and the Hugging Face Hub cannot be")


def test_what_is_no_checkpoint_says_what_may_have_been_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(source: str | Path) -> str:
        with pytest.raises(ModelFileError) as caught:
            Engine.load(source)
        return str(caught.value)

    whole = write_checkpoint(tmp_path / "whole", "llama")
    assert f"name the checkpoint's directory, {whole}" in refusal(whole / "model.safetensors")
    folder = tmp_path / "files"
    folder.mkdir()
    assert "holds no config.json." in refusal(folder)
    (folder / "adapter_config.json").write_text("{}")
    assert "holds an adapter and no model" in refusal(folder)
    (folder / "model.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert f"name the file itself, such as {folder / 'model.gguf'}" in refusal(folder)
    assert "git lfs pull" in refusal(folder / "model.gguf")
    assert "which is not fetched" in refusal("https://huggingface.co/a/b/resolve/main/x.gguf")
    monkeypatch.setattr(checkpoint, "_fetch", lambda name: folder)
    assert "The repository owner/name has no config.json" in refusal("owner/name")
