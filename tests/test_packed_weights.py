"""A file of packed weights gives the model that packing gave, bit for bit; a checkpoint's own
formats keep their width and their values."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_core import Engine
from dllm_core.bench import geometry
from dllm_core.cpu import formats
from dllm_core.decode.denoise import Forward, run
from dllm_core.errors import WeightsError
from dllm_core.model import loading, packed_weights, weights
from dllm_core.model.cache import KeyValues
from dllm_core.model.packed_store import PackedStore
from dllm_core.model.packed_writer import PackedWriter
from dllm_core.model.quantize import PackedLinear
from dllm_core.model.transformer import Span

pytestmark = pytest.mark.kernels

MIXTURES = ("Q4_0", "Q4_1", "Q8_0", "F16", "BF16", "Q4_K_M", "Q5_K_M", "Q6_K")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, shape = tmp_path_factory.mktemp("mixtures"), geometry.GEOMETRIES["tiny"]
    return {name: geometry.write(shape, name, folder / f"{name}.gguf") for name in MIXTURES}


@pytest.fixture(autouse=True)
def small_files_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_weights, "LEAST", 0)


def ids(count: int) -> Tensor:
    return torch.randint(0, 512, (count,), generator=torch.Generator().manual_seed(count))


@torch.inference_mode()
def logits(engine: Engine, given: Tensor, pieces: list[int]) -> Tensor:
    """Logits of all tokens, read in pieces of so many rows."""
    store = KeyValues(engine.config, len(given), torch.float32, CPU)
    store.reserve(len(given), keep=0)
    found, start = [], 0
    for rows in pieces:
        mask = torch.ones(rows, start + rows, dtype=torch.bool).tril(start)
        span = Span(store, start, rows, start + rows, mask)
        found.append(run(engine.model, Forward(given[start : start + rows], (span,), _all(rows))))
        start += rows
    return torch.cat(found)


def _all(rows: int) -> Tensor:
    return torch.arange(rows)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("dtype", ["int4", "int8"])
def test_a_second_load_has_the_logits_of_the_first_and_reads_no_weights(
    files: dict[str, Path],
    mixture: str,
    dtype: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, given = files[mixture], ids(20)
    packed = Engine.load(path, dtype=dtype, packed="off", device="cpu")  # type: ignore[arg-type]
    expected = logits(packed, given, [20])
    first = Engine.load(path, dtype=dtype, packed=tmp_path, device="cpu")  # type: ignore[arg-type]
    assert torch.equal(logits(first, given, [20]), expected)

    def never(*_: object) -> None:
        raise AssertionError("the checkpoint was read")

    monkeypatch.setattr(loading.weights, "fill", never)
    second = Engine.load(path, dtype=dtype, packed=tmp_path, device="cpu")  # type: ignore[arg-type]
    assert torch.equal(logits(second, given, [20]), expected)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_logits_are_those_of_float32(files: dict[str, Path], mixture: str) -> None:
    given = ids(24)
    plain = logits(Engine.load(files[mixture], dtype="float32", device="cpu"), given, [24])
    found = logits(
        Engine.load(files[mixture], dtype="int4", packed="off", device="cpu"), given, [24]
    )
    # Other formats than a file's own are rounded to 255 steps.
    share = 0.03 if mixture in ("F16", "BF16") else 1e-3
    torch.testing.assert_close(found, plain, rtol=0, atol=share * float(plain.abs().max()))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_rows_do_not_depend_on_how_many_stand_beside_them(
    files: dict[str, Path], mixture: str
) -> None:
    engine, given = Engine.load(files[mixture], dtype="int4", packed="off", device="cpu"), ids(32)
    alone = logits(engine, given, [1] * 32)
    for rows in (2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 24, 31, 32):
        assert torch.equal(logits(engine, given[:rows], [rows]), alone[:rows])
    assert torch.equal(logits(engine, given, [9, 2, 16, 5]), alone)


def test_layers_have_the_formats_of_the_file(files: dict[str, Path]) -> None:
    model = Engine.load(files["Q4_K_M"], dtype="int4", packed="off", device="cpu").model
    found = [
        [part.packed.form for part in layer.parts]
        for layer in model.modules()
        if isinstance(layer, PackedLinear)
    ]
    most, some = formats.Q4_K, formats.Q6_K
    assert found == [
        [most, some], [most], [most], [some],  # queries and keys, values; out; gates; down
        [most], [most], [most], [most],
        [some],
    ]  # fmt: skip
    layer = model.get_submodule("blocks.0.mlp.gate_up")
    assert isinstance(layer, PackedLinear)
    assert 8 * layer.packed.nbytes / (1024 * 256) == pytest.approx(4.6, abs=0.05)


def test_a_damaged_file_is_made_again(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path, given = files["Q4_0"], ids(9)
    expected = logits(Engine.load(path, packed=tmp_path, device="cpu"), given, [9])
    (file,) = tmp_path.glob("*.packed")
    file.write_bytes(file.read_bytes()[:-1])
    assert torch.equal(
        logits(Engine.load(path, packed=tmp_path, device="cpu"), given, [9]), expected
    )
    assert [record.message.count("made again") for record in caplog.records] == [1]
    assert [problem for _, problem in PackedStore(tmp_path).problems()] == [None]


def test_other_weights_have_files_of_their_own(files: dict[str, Path], tmp_path: Path) -> None:
    Engine.load(files["Q4_0"], packed=tmp_path, dtype="int4", device="cpu")
    Engine.load(files["Q4_0"], packed=tmp_path, dtype="int8", device="cpu")
    Engine.load(files["Q8_0"], packed=tmp_path, dtype="int4", device="cpu")
    assert len(list(tmp_path.glob("*.packed"))) == 3
    Engine.load(files["Q4_0"], packed=tmp_path, dtype="float32", device="cpu")
    assert len(list(tmp_path.glob("*.packed"))) == 3


def test_writing_to_a_loaded_model_does_not_change_the_file(
    files: dict[str, Path], tmp_path: Path
) -> None:
    for _ in range(2):
        engine = Engine.load(files["Q4_0"], packed=tmp_path, device="cpu")
        with torch.inference_mode():
            engine.model.embedding[3] = 0.0
    assert [problem for _, problem in PackedStore(tmp_path).problems()] == [None]
    again = Engine.load(files["Q4_0"], packed=tmp_path, device="cpu")
    assert bool(again.model.embedding[3].any())


def test_a_directory_that_cannot_be_written_is_gone_without(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    engine = Engine.load(files["Q4_0"], packed=tmp_path / "file" / "there", device="cpu")
    assert logits(engine, ids(3), [3]).isfinite().all()
    assert "loading takes longer next time" in caplog.text


def test_a_file_that_cannot_be_mapped_is_gone_without(
    files: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, given = files["Q4_0"], ids(3)
    expected = logits(Engine.load(path, packed=tmp_path, device="cpu"), given, [3])

    def refused(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(packed_weights, "_adopt", refused)
    again = logits(Engine.load(path, packed=tmp_path, device="cpu"), given, [3])
    assert torch.equal(again, expected)
    assert "cannot be mapped" in caplog.text


def test_small_models_are_packed_anew(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_weights, "LEAST", 32 << 20)
    Engine.load(files["Q4_0"], packed=tmp_path, device="cpu")
    assert not list(tmp_path.glob("*.packed"))


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A disk that is full after so many weights."""

    def full(count: int) -> None:
        real, left = PackedWriter.add, [count]

        def add(writer: PackedWriter, raw: memoryview) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return real(writer, raw)

        monkeypatch.setattr(PackedWriter, "add", add)

    return full


@pytest.mark.parametrize("count", [0, 1, 5, 8, 12])
def test_a_disk_that_becomes_full_leaves_all_weights_in_memory(
    files: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    full_after: Callable[[int], None],
    count: int,
) -> None:
    path, given = files["Q4_K_M"], ids(5)
    expected = logits(Engine.load(path, packed="off", device="cpu"), given, [5])
    full_after(count)
    engine = Engine.load(path, packed=tmp_path, device="cpu")
    assert torch.equal(logits(engine, given, [5]), expected)
    assert "No space left" in caplog.text
    assert not [*tmp_path.glob("*.packed"), *tmp_path.glob("*.partial")]


def test_a_layer_leaves_memory_when_it_is_complete(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_add, real_rows = PackedWriter.add, weights._store_rows

    def add(writer: PackedWriter, raw: memoryview) -> int:
        order.append("written")
        return real_add(writer, raw)

    def store(*given: Any) -> None:
        order.append("packed")
        real_rows(*given)

    monkeypatch.setattr(PackedWriter, "add", add)
    monkeypatch.setattr(weights, "_store_rows", store)
    Engine.load(files["Q4_0"], packed=tmp_path, device="cpu")
    waiting = most = 0
    for each in order:
        waiting = waiting + 1 if each == "packed" else 0
        most = max(most, waiting)
    assert order.count("packed") == 15  # two layers of seven tensors, and the head
    assert most == 3  # queries, keys and values


def test_a_checkpoint_that_does_not_fit_leaves_no_file(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = weights._store_rows, [5]

    def damaged(*given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise WeightsError("damaged")
        real(*given)

    monkeypatch.setattr(weights, "_store_rows", damaged)
    with pytest.raises(WeightsError):
        Engine.load(files["Q4_0"], packed=tmp_path, device="cpu")
    assert not [*tmp_path.glob("*.packed"), *tmp_path.glob("*.partial")]
