from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize, quantize

from dllm_core.errors import ModelFileError
from dllm_core.model.gguf_file import GgufFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A GGUF written by the reference library."""
    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_token_list(["a", "é", "<|end|>"])
    writer.add_token_types([1, 1, 3])
    writer.add_array("scores", [0.5, -1.0])
    writer.add_add_bos_token(False)
    values = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    writer.add_tensor("plain", values[:3])
    for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1):
        writer.add_tensor(kind.name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_reads_what_the_reference_reader_reads(path: Path) -> None:
    file, reference = GgufFile(path), GGUFReader(path)
    for key, field in reference.fields.items():
        if not key.startswith("GGUF."):
            assert file.metadata[key] == field.contents()
    tensors = dict(file.read())
    assert set(tensors) == {tensor.name for tensor in reference.tensors}
    for tensor in reference.tensors:
        expected = dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(tensors[tensor.name][:].numpy(), expected)
        np.testing.assert_array_equal(tensors[tensor.name][1:3].numpy(), expected[1:3])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model file .*nowhere\.gguf"):
        GgufFile(tmp_path / "nowhere.gguf")


@pytest.mark.parametrize("content", [b"RIFF" + bytes(100), b"not it", b""])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"not a GGUF|cannot be read"):
        GgufFile(path)


@pytest.mark.parametrize(
    ("version", "words"),
    [(b"\0\0\0\3", "big-endian"), (b"\1\0\0\0", "version 1"), (b"\0\0\0\0", "version 0")],
)
def test_another_version_or_order_of_bytes_is_refused(
    path: Path, version: bytes, words: str
) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4] + version + content[8:])
    with pytest.raises(ModelFileError, match=words):
        GgufFile(path)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match=r"damaged|truncated"):
        GgufFile(path)


def test_its_vocabulary_can_be_dropped_while_tensors_are_read(path: Path) -> None:
    file = GgufFile(path)
    tensors = dict(file.read())
    file.forget_words()
    file.forget_words()
    assert not [value for value in file.metadata.values() if value == ["a", "é", "<|end|>"]]
    assert file.metadata["general.architecture"] == "llama"
    assert tensors["plain"][:].shape == (3, 64)
