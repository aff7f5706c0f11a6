"""Training: it learns, it goes on exactly where it stopped, and it refuses what cannot fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.tiny import tiny_config, tiny_engine, tiny_model

from dllm_core import DecodeOptions
from dllm_core.adapt import memory
from dllm_core.adapt.collate import CollateOptions, Collator
from dllm_core.adapt.examples import Example
from dllm_core.adapt.train import (
    LOG,
    Trainer,
    TrainOptions,
    latest,
    learning_rate,
    new_adapter,
    pick,
)
from dllm_core.config import ModelConfig
from dllm_core.errors import AdapterError, DataError, OptionError, TooLargeError
from dllm_core.model import lora
from dllm_core.model.families import config_from_json
from dllm_core.model.lora import DenoiserSettings

PROMPT_CAUSAL = tiny_config(mask_id=60)
LLADA = tiny_config(family="llada", attention="bidirectional", shift=False, mask_id=60)
BLOCKS = tiny_config(block_length=4, shift=False, mask_id=60, qk_norm=True)

# The reply repeats the prompt: nothing to know, something to learn.
EXAMPLES = [
    Example(tuple(map(int, row)), (*map(int, row), 0))
    for row in torch.randint(1, 20, (40, 5), generator=torch.Generator().manual_seed(0))
]


def trainer(
    directory: Path, config: ModelConfig = PROMPT_CAUSAL, *, layers=None, **options
) -> Trainer:
    model = tiny_model(config)
    model.norm.mul_(0.1)
    settings = DenoiserSettings(mask_id=60, canvas_length=8, steps=8, canvas_layers=layers)
    adapter = new_adapter(
        model, rank=8, alpha=16, settings=settings, learn_mask=config.family == "llama", seed=0
    )
    chosen = {"steps": 100, "batch": 8, "rate": 2e-2, **options}
    collate = Collator(config, CollateOptions(canvas_lengths=(8,)), end=0)
    return Trainer(model, adapter, collate, TrainOptions(**chosen), directory, base="tiny")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "layers"),
    [(PROMPT_CAUSAL, None), (PROMPT_CAUSAL, (1,)), (LLADA, None), (BLOCKS, None)],
)
def test_it_learns_and_the_engine_replies_with_what_it_learnt(tmp_path, config, layers) -> None:
    run = trainer(tmp_path, config, layers=layers)
    entropy, accuracy = run.validate(EXAMPLES)
    assert run.run(EXAMPLES)
    after = run.validate(EXAMPLES)
    assert after[0] < 0.8 * entropy
    assert after[1] > accuracy + 0.1
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 101))
    # Loaded into another copy of the base, the adapter gives the logits it was trained to.
    place = latest(tmp_path)
    assert place is not None
    engine = tiny_engine(config)
    engine.model.norm.mul_(0.1)
    lora.attach(engine.model, lora.load(place, config))
    options = DecodeOptions(
        rule="quota", canvas_length=8, steps=8, max_tokens=8, canvas_layers=layers
    )
    learnt = engine.reply(EXAMPLES[0].prompt, options=options).ids
    plain = tiny_engine(config)
    plain.model.norm.mul_(0.1)
    untaught = plain.reply(EXAMPLES[0].prompt, options=options).ids
    assert learnt != untaught


def same(a: Trainer, b: Trainer) -> bool:
    pairs = zip(a.parameters.values(), b.parameters.values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.slow
def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path, monkeypatch) -> None:
    whole = trainer(tmp_path / "whole", steps=12)
    assert whole.run(EXAMPLES)
    first = trainer(tmp_path / "parts", steps=12, seconds=5)
    clock = iter([0.0, *[1.0] * 15, *[100.0] * 9])
    monkeypatch.setattr("dllm_core.adapt.train.monotonic", lambda: next(clock))
    assert not first.run(EXAMPLES)
    assert 0 < first.step < 12
    monkeypatch.undo()
    second = trainer(tmp_path / "parts", steps=12)
    assert second.resume()
    assert second.step == first.step
    assert same(first, second)
    assert second.run(EXAMPLES)
    assert same(whole, second)
    assert len(list((tmp_path / "parts").glob("step-*"))) == 1


def test_a_run_with_other_options_is_not_resumed(tmp_path: Path) -> None:
    assert not trainer(tmp_path).resume()
    trainer(tmp_path, steps=2).run(EXAMPLES)
    with pytest.raises(OptionError, match="other batch, steps"):
        trainer(tmp_path, steps=3, batch=4).resume()


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        trainer(tmp_path).run([])


def test_every_epoch_takes_every_example_once() -> None:
    taken = [place for step in range(10) for place in pick(40, 8, step, seed=3)]
    assert sorted(taken[:40]) == sorted(taken[40:]) == list(range(40))
    assert taken[:40] != taken[40:]


def test_the_learning_rate_rises_and_falls() -> None:
    options = TrainOptions(steps=100, rate=1.0, warm_up=0.1, last_rate=0.1)
    rates = [learning_rate(options, step) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


def llada_8b() -> ModelConfig:
    return config_from_json(
        {
            "model_type": "llada", "vocab_size": 126464, "embedding_size": 126464,
            "eos_token_id": 126081, "d_model": 4096, "mlp_hidden_size": 12288, "n_layers": 32,
            "n_heads": 32, "n_kv_heads": 32, "max_sequence_length": 4096, "rope_theta": 500000.0,
            "weight_tying": False,
        }
    )  # fmt: skip


def estimate(**changes) -> memory.MemoryEstimate:
    values = {
        "rank": 32, "layers": None, "sequences": 16, "length": 512, "canvas": 64,
        "weight_bytes": 2, "recompute": True,
    }  # fmt: skip
    return memory.estimate(llada_8b(), **(values | changes))


def test_llada_8b_can_be_tuned_on_one_80_gb_gpu() -> None:
    needed = estimate()
    assert needed.weights == pytest.approx(16.0e9, rel=0.01)
    assert memory.adapter_parameters(llada_8b(), 32, None) == pytest.approx(84e6, rel=0.05)
    memory.check(needed, 80 * 10**9, torch.device("cpu"))


def test_what_cannot_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(TooLargeError, match=r"needs .* GiB in all: .* Lower --batch") as caught:
        memory.check(estimate(recompute=False, sequences=32), 80 * 10**9, torch.device("cpu"))
    assert "--recompute" in str(caught.value)


def test_the_estimate_counts_the_weights_there_are() -> None:
    for config in (PROMPT_CAUSAL, LLADA):
        weights = sum(p.numel() for p in tiny_model(config).parameters() if p.dim() == 2)
        assert memory.parameters(config) == weights
        adapter = lora.fresh(
            config, rank=4, alpha=8, layers=None, generator=torch.Generator().manual_seed(0)
        )
        count = sum(part.a.numel() + part.b.numel() for part in adapter.parts.values())
        assert memory.adapter_parameters(config, 4, None) == count


def other(directory: Path, *, rank: int = 8, alpha: float = 16, layers=None, **collate) -> Trainer:
    """A run that differs from `trainer` in what is named."""
    model = tiny_model(PROMPT_CAUSAL)
    settings = DenoiserSettings(mask_id=60, canvas_length=8, steps=8, canvas_layers=layers)
    adapter = new_adapter(model, rank=rank, alpha=alpha, settings=settings, learn_mask=True, seed=0)
    options = CollateOptions(**({"canvas_lengths": (8,)} | collate))
    chosen = TrainOptions(steps=100, batch=8, rate=2e-2)
    return Trainer(
        model, adapter, Collator(PROMPT_CAUSAL, options, end=0), chosen, directory, base="tiny"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 4}, "other rank"),
        ({"alpha": 8}, "other alpha"),
        ({"layers": (1,)}, "other canvas_layers"),
        ({"canvas_lengths": (8, 16)}, "other collate.canvas_lengths"),
        ({"complementary": False}, "other collate.complementary"),
        ({"commit": 2}, "other collate.commit"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, changes: dict, words: str) -> None:
    trainer(tmp_path).save()
    assert other(tmp_path).resume()
    with pytest.raises(OptionError, match=f"{words}: resume it with the same options"):
        other(tmp_path, **changes).resume()


def test_a_run_on_other_data_is_not_resumed(tmp_path: Path) -> None:
    trainer(tmp_path, steps=2).run(EXAMPLES)
    for data in (EXAMPLES[:-1], EXAMPLES[::-1], [*EXAMPLES[:-1], Example((1,), (2, 0))]):
        again = trainer(tmp_path, steps=2)
        assert again.resume()
        with pytest.raises(OptionError, match="on other data"):
            again.run(data)
    again = trainer(tmp_path, steps=2)
    assert again.resume()
    assert again.run(EXAMPLES)


def test_a_run_of_an_older_version_is_resumed(tmp_path: Path) -> None:
    place = trainer(tmp_path, steps=2).save()
    state = json.loads((place / "state.json").read_text())
    del state["run"], state["data"]
    (place / "state.json").write_text(json.dumps(state))
    assert trainer(tmp_path, steps=2).resume()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}', "\x00"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, text: str) -> None:
    place = trainer(tmp_path, steps=2).save()
    (place / "state.json").write_text(text)
    with pytest.raises(AdapterError, match=r"checkpoint .* is damaged"):
        trainer(tmp_path, steps=2).resume()
