"""Checkpoints as strangers have them: read as by transformers, or refused in one sentence."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file, save_file
from support.checkpoints import TEMPLATE, write_checkpoint
from test_checkpoint_fields import changed
from test_families import SIZES, reference, save
from test_rope import logits, token_ids, write_gguf
from test_rope import reference as reference_of_rope

from dllm_core import Engine, OptionError
from dllm_core.errors import DllmError, ModelFileError, UnsupportedModelError, WeightsError
from dllm_core.model.gguf_file import GgufFile

CHAT = [("user", "hi")]


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "llama", "llama")


def opened(path: Path, **options: Any) -> Engine:
    return Engine.load(path, dtype="float32", **options)


def read_or_refused(path: Path) -> None:
    """Fails where loading raises what no caller expects."""
    with contextlib.suppress(DllmError):
        opened(path)


def settings(path: Path, **values: Any) -> Path:
    """The checkpoint with this tokenizer_config.json alone."""
    (path / "chat_template.jinja").unlink(missing_ok=True)
    (path / "tokenizer_config.json").write_text(json.dumps(values))
    return path


@pytest.mark.transformers
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize(("heads", "shared"), [(7, 1), (15, 5), (5, 5)])
def test_odd_ratios_of_heads(kind: str, heads: int, shared: int, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    wide = {"num_attention_heads": heads, "num_key_value_heads": shared, "hidden_size": 8 * heads}
    config = getattr(transformers, f"{kind}Config")(**SIZES | wide, tie_word_embeddings=False)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.inference_mode():
        expected = model(token_ids()[None]).logits[0]
    found = logits(opened(save(model, kind.lower(), tmp_path)))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


@pytest.mark.transformers
def test_a_tied_head_that_is_written_out_must_be_the_embedding(tmp_path: Path) -> None:
    path = changed(save(reference("Llama", False), "llama", tmp_path), tie_word_embeddings=True)
    with pytest.raises(WeightsError, match=r"lm_head\.weight differs from it: give config="):
        opened(path)
    untied = opened(path, config={"tied_head": False})
    with torch.inference_mode():
        expected = reference("Llama", False)(token_ids()[None]).logits[0]
    torch.testing.assert_close(logits(untied), expected, atol=1e-4, rtol=0)
    shards = {shard: load_file(shard) for shard in path.glob("*.safetensors")}
    parts = {name: tensor for part in shards.values() for name, tensor in part.items()}
    for shard, part in shards.items():
        if "lm_head.weight" in part:
            save_file(part | {"lm_head.weight": parts["model.embed_tokens.weight"]}, shard)
    assert opened(path).model.head is None


LINEAR = {"type": "linear", "factor": 4.0}


def test_rotary_positions_that_are_stated_twice_must_agree(llama: Path) -> None:
    plain = {"rope_type": "default", "rope_theta": 500.0}
    with pytest.raises(UnsupportedModelError, match="states rotary positions twice"):
        opened(changed(llama, rope_parameters=plain, rope_scaling=LINEAR))
    same = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}
    config = opened(changed(llama, rope_parameters=same, rope_scaling=LINEAR)).config
    assert (config.rope.kind, config.rope.factor, config.rope_theta) == ("linear", 4.0, 500.0)


@pytest.mark.parametrize(
    "kinds", [["full_attention"], ["chunked_attention", "full_attention"], "full_attention", [1, 2]]
)
def test_kinds_of_layers_that_are_not_known(llama: Path, kinds: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="layer_types = "):
        opened(changed(llama, layer_types=kinds))


FIELDS = [
    "hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "vocab_size",
    "max_position_embeddings", "rope_theta", "rms_norm_eps", "eos_token_id", "model_type",
    "sliding_window", "mask_token_id", "partial_rotary_factor", "rope_scaling", "layer_types",
    "num_key_value_heads", "tie_word_embeddings", "rope_parameters",
]  # fmt: skip
VALUES = [None, 0, -1, "x", "64", 1.5, [], [1], {}, {"a": 1}, True, 1e308, 10**30, [None]]


@pytest.mark.parametrize("field", FIELDS)
def test_no_value_of_a_field_is_a_traceback(llama: Path, field: str) -> None:
    for value in VALUES:
        before = (llama / "config.json").read_text()
        read_or_refused(changed(llama, **{field: value}))
        (llama / "config.json").write_text(before)


@pytest.mark.parametrize("kind", ["llama3", "yarn", "linear"])
def test_no_value_of_rotary_positions_is_a_traceback(llama: Path, kind: str) -> None:
    whole = {
        "factor": 4.0, "original_max_position_embeddings": 32, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "rope_theta": 500.0, "beta_fast": 32, "attention_factor": 1.0,
    }  # fmt: skip
    for field in whole:
        for value in (None, 0, -1, "x", [], True, 1e308):
            rope = {"rope_type": kind, **whole, field: value}
            read_or_refused(changed(llama, rope_parameters=rope))


@pytest.mark.parametrize(
    ("ends", "found"),
    [([256, 256, 257], (256, 257)), ([], ()), (257, (257,)), (None, (256,))],
)
def test_lists_of_ends(llama: Path, ends: Any, found: tuple[int, ...]) -> None:
    path = settings(changed(llama, eos_token_id=ends), eos_token="<end>")
    assert opened(path).config.eos_ids == found


@pytest.mark.parametrize("ends", ["256", [256, None], -1, [[256]], 256.0, True, {"a": 1}])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_ends_that_are_no_tokens(llama: Path, file: str, ends: Any) -> None:
    with pytest.raises(ModelFileError, match="among eos_token_id"):
        opened(changed(llama, file, eos_token_id=ends))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ([{"name": "default", "template": "x{{ messages[0].content }}"}], "xhi"),
        ("{% for m in messages %}{{ m.content }}{% break %}{% endfor %}", "hi"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "hi"),
        ("{{ strftime_now('%%') }}{{ messages[0].content }}", "%hi"),
        ("{{ ['<&é'] | tojson }}", '["<&é"]'),
        ("{{ bos_token }}{{ messages[0].content }}", "hi"),
    ],
)
def test_templates_are_rendered_as_by_transformers(llama: Path, template: Any, text: str) -> None:
    (llama / "special_tokens_map.json").write_text('{"bos_token": {"content": "<start>"}}')
    words = opened(settings(llama, chat_template=template)).tokenizer
    ids = words.encode_chat(CHAT)
    assert words.decode(ids) == text
    assert (257 in ids) == (isinstance(template, str) and "bos_token" in template)


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{{ nothing() }}", "{{ messages[0].content + 1 }}", "{{ [][3].x }}"]
)
def test_a_template_that_fails_says_so(llama: Path, template: str) -> None:
    words = opened(settings(llama, chat_template=template)).tokenizer
    with pytest.raises(OptionError, match="The chat template refuses this conversation"):
        words.encode_chat(CHAT)


WITHOUT_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)
BY_TURNS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "chat", "text"),
    [
        (WITHOUT_SYSTEM, "s:Be brief. u:hi", "<user>Be brief.\n\nhi"),
        (BY_TURNS, "s:Be brief. u:hi", "<user>Be brief.\n\nhi"),
        (
            WITHOUT_SYSTEM,
            "s:Be brief. a:hello u:hi s:Be kind.",
            "<user>Be brief.<assistant>hello<user>hi<user>Be kind.",
        ),
        (
            BY_TURNS,
            "s:Be brief. u:hi a:hello a:there u:so s:Be kind. u:yes",
            "<user>Be brief.\n\nhi<assistant>hello\n\nthere<user>so\n\nBe kind.\n\nyes",
        ),
        (BY_TURNS, "a:hello u:hi", "<user><assistant>hello<user>hi"),
        (BY_TURNS, "u:hi a:hello u:so", "<user>hi<assistant>hello<user>so"),
    ],
)
def test_a_template_that_knows_fewer_roles(
    llama: Path, template: str, chat: str, text: str
) -> None:
    names = {"s": "system", "u": "user", "a": "assistant"}
    said = [part.split(":") for part in re.split(r" (?=[sua]:)", chat)]
    words = opened(settings(llama, chat_template=template)).tokenizer
    assert words.decode(words.encode_chat([(names[n], said) for n, said in said])) == text


@pytest.mark.parametrize("template", [5, [], [{"name": "rag", "template": "x"}], None])
def test_a_missing_template_says_what_to_do(llama: Path, template: Any) -> None:
    words = opened(settings(llama, chat_template=template)).tokenizer
    with pytest.raises(OptionError, match=r"no chat template: .* chat_template\.jinja beside"):
        words.encode_chat(CHAT)


def _truncate(path: Path) -> None:
    path.write_text("{")


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("tokenizer_config.json", _truncate, "tokenizer_config.json cannot be read"),
        ("generation_config.json", _truncate, "generation_config.json cannot be read"),
        ("model.safetensors.index.json", _truncate, "index.json cannot be read"),
        ("model.safetensors", _pointer, "pointer of Git LFS"),
        ("tokenizer.json", _pointer, "pointer of Git LFS"),
        ("tokenizer.json", Path.unlink, r"AutoTokenizer\.from_pretrained"),
        ("model.safetensors", Path.unlink, "save them as safetensors"),
    ],
)
def test_damaged_files(llama: Path, file: str, damage: Callable[[Path], None], words: str) -> None:
    damage(llama / file)
    with pytest.raises(ModelFileError, match=words):
        opened(llama)


@pytest.mark.parametrize("index", [{}, {"weight_map": [1]}, {"weight_map": {"a": 3}}])
def test_an_index_that_is_none(llama: Path, index: dict[str, Any]) -> None:
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFileError, match="no weight_map"):
        opened(llama)


def test_a_byte_order_mark_is_passed_over(llama: Path) -> None:
    for name, text in (("chat_template.jinja", TEMPLATE), ("config.json", None)):
        path = llama / name
        path.write_text(text or path.read_text(), encoding="utf-8-sig")
    assert opened(llama).tokenizer.encode_chat(CHAT)[0] == 257


def test_a_size_far_beyond_the_files_takes_no_memory(llama: Path) -> None:
    with pytest.raises(WeightsError, match=r"model of 1\.4e\+13 weights"):
        opened(changed(llama, num_hidden_layers=2**31))


# GGUF files

_Kind = GGMLQuantizationType
_CODES = {_Kind.Q2_K: (80, 82), _Kind.Q3_K: (108,), _Kind.IQ4_NL: (0,), _Kind.IQ4_XS: (0,)}
"""Places of a block's float16 numbers in formats that the library decodes only."""
_SIZES = {_Kind.Q2_K: 84, _Kind.Q3_K: 110, _Kind.IQ4_NL: 18, _Kind.IQ4_XS: 136}


def stored(values: np.ndarray, kind: _Kind) -> np.ndarray:
    """Rows of a file in a format: these values, or random ones where there is no encoder."""
    if kind not in _CODES:
        return quantize(values, kind)
    width = 32 if kind == _Kind.IQ4_NL else 256
    shape = (len(values), values.shape[1] // width, _SIZES[kind])
    raw = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for at in _CODES[kind]:
        raw[..., at : at + 2] = np.frombuffer(np.float16(0.002).tobytes(), np.uint8)
    return raw.reshape(len(values), -1)


@pytest.mark.transformers
@pytest.mark.parametrize(
    "kind", [_Kind.Q5_0, _Kind.Q5_1, _Kind.BF16, _Kind.F16, *_CODES], ids=lambda kind: kind.name
)
def test_formats_without_kernels_of_their_own(
    kind: _Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed-forward layers are in the format, and transformers gets what the library decodes."""
    monkeypatch.setitem(__import__("test_rope").SIZES, "hidden_size", 256)
    monkeypatch.setitem(__import__("test_rope").SIZES, "intermediate_size", 256)
    model = reference_of_rope("Qwen3", {})
    state = model.state_dict()
    add = GGUFWriter.add_tensor

    def added(writer: GGUFWriter, name: str, tensor: np.ndarray, **_: Any) -> None:
        if "ffn_" not in name or tensor.ndim < 2:
            return add(writer, name, tensor)
        raw = stored(tensor, kind)
        source = name.replace("blk.", "model.layers.").replace("ffn_", "mlp.")
        source = source.replace(".weight", "_proj.weight")
        state[source].copy_(torch.from_numpy(dequantize(raw, kind)))
        return add(writer, name, raw, raw_dtype=kind)

    monkeypatch.setattr(GGUFWriter, "add_tensor", added)
    path = write_gguf(tmp_path / "m.gguf", model, "qwen3", {})
    with torch.inference_mode():
        expected = model(token_ids()[None]).logits[0]
    largest = float(expected.abs().max())
    torch.testing.assert_close(logits(opened(path)), expected, atol=1e-4 * largest, rtol=0)
    packed = logits(Engine.load(path, dtype="int4", packed="off"))
    torch.testing.assert_close(packed, expected, atol=0.1 * largest, rtol=0)


@pytest.mark.transformers
def test_a_format_that_is_not_decoded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tmp_path / "m.gguf", reference_of_rope("Llama", {}), "llama", {})
    raw = bytearray(path.read_bytes())
    name = b"output_norm.weight"
    at = raw.index(name) + len(name) + 4 + 8  # behind the number of sizes, and one size
    raw[at : at + 4] = int(_Kind.F64).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(UnsupportedModelError, match="of the format F64, which is not read: take"):
        Engine.load(path)


@pytest.fixture
def header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a GGUF file whose header is read with some fields changed, or (None) left out."""
    path = write_gguf(tmp_path / "m.gguf", reference_of_rope("Llama", {}), "llama", {})
    read = GgufFile._read_header

    def change(**fields: Any) -> Path:
        def changed_header(file: GgufFile) -> None:
            read(file)
            for name, value in fields.items():
                key = name.replace("__", ".")
                file.metadata[key] = value
                if value is None:
                    del file.metadata[key]

        monkeypatch.setattr(GgufFile, "_read_header", changed_header)
        return path

    return change


@pytest.mark.transformers
@pytest.mark.parametrize(
    "field",
    [
        "llama__block_count", "llama__attention__head_count", "llama__rope__freq_base",
        "llama__embedding_length", "tokenizer__ggml__tokens", "tokenizer__ggml__merges",
        "tokenizer__ggml__token_type", "tokenizer__ggml__eos_token_id", "tokenizer__ggml__pre",
        "tokenizer__chat_template", "general__architecture", "split__count",
    ],
)  # fmt: skip
def test_no_value_of_a_header_is_a_traceback(header: Callable[..., Path], field: str) -> None:
    for value in (0, -1, "x", 1.5, [], [1], ["a"], True, 1e308, 10**18):
        read_or_refused(header(**{field: value}))


@pytest.mark.transformers
def test_all_ends_of_a_header_count(header: Callable[..., Path]) -> None:
    fields = {"tokenizer__ggml__eot_token_id": 257, "tokenizer__ggml__eom_token_id": 256}
    assert opened(header(**fields)).config.eos_ids == (256, 257)
    only = {"tokenizer__ggml__eot_token_id": 258, "tokenizer__ggml__eos_token_id": None}
    assert opened(header(**only)).config.eos_ids == (258,)


@pytest.mark.transformers
def test_the_split_of_llama_3(header: Callable[..., Path]) -> None:
    """Digits by threes, and a word of the vocabulary as it is, whatever the merges make of it."""
    words = opened(header(tokenizer__ggml__pre="llama-bpe")).tokenizer
    backend = words.backend
    pieces = [text for text, _ in backend.pre_tokenizer.pre_tokenize_str("It's 12345, Ok")]
    assert pieces == ["It", "'s", "Ġ", "123", "45", ",", "ĠOk"]
    assert backend.model.ignore_merges
