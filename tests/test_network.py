"""The batched network is the engine's model in another layout."""

from __future__ import annotations

import pytest
import torch
from support.tiny import tiny_cache, tiny_config, tiny_engine, tiny_model

from dllm_core import DecodeOptions
from dllm_core.adapt.collate import CollateOptions, Collator
from dllm_core.adapt.examples import Example
from dllm_core.adapt.generate import replies, trajectories
from dllm_core.adapt.network import Network, positions_of
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.errors import OptionError
from dllm_core.model.transformer import visibility

CONFIGS = {
    "bidirectional": tiny_config(attention="bidirectional", shift=False, mask_id=60),
    "dream": tiny_config(attention="bidirectional", shift=True, mask_id=60, qkv_bias=True),
    "blocks": tiny_config(block_length=4, shift=False, mask_id=60, qk_norm=True),
    "prompt_causal": tiny_config(mask_id=60),
}
PROMPTS = [(5, 9, 2, 44, 17), (7,) * 3, tuple(range(1, 14))]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layers", [None, (1,)])
def test_the_first_step_of_the_engine_has_the_same_logits(name: str, layers) -> None:
    """All positions of the first block hidden, in a batch with longer and shorter neighbours."""
    config = CONFIGS[name]
    if layers is not None and name != "prompt_causal":
        pytest.skip("a light denoiser is a matter of causal prompts")
    model = tiny_model(config)
    examples = [Example(p, (3,) * 8) for p in PROMPTS]
    collate = Collator(config, CollateOptions(canvas_lengths=(8,), complementary=False), end=0)
    batch = collate(examples, torch.Generator().manual_seed(0))
    network = Network(model, canvas_layers=layers)
    prompt = PROMPTS[0]
    length = 8 if config.block_length == 1 else 4 - len(prompt) % 4
    ids, canvas = batch.ids.clone(), batch.canvas.clone()
    ids[0, len(prompt) : len(prompt) + length] = 60
    stop = len(prompt) + length
    visible = batch.visible.clone()
    visible[0] = torch.eye(ids.shape[1], dtype=torch.bool)
    mask = visibility(config, 0, stop, stop, len(prompt))
    visible[0, :stop, :stop] = True if mask is None else mask
    canvas[0] = False
    canvas[0, len(prompt) - config.shift : stop] = True
    with torch.no_grad():
        hidden = network(ids, positions_of(ids), visible, canvas)
        rows = torch.arange(len(prompt), stop) - int(config.shift)
        ours = model.logits(hidden[0, rows])
    cache = tiny_cache(model)
    engine = tiny_engine(config)
    options = DecodeOptions(rule="quota", canvas_length=length, canvas_layers=layers)
    with torch.no_grad():
        engine.read(prompt, cache, options)
        canvas_of = Canvas.after(config, prompt, length, torch.device("cpu"))
        theirs = run(model, Diffusion(config, canvas_of, cache, options).plan())
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_layer_with_and_without_recomputing() -> None:
    config = CONFIGS["prompt_causal"]
    found = []
    for recompute in (False, True):
        model = tiny_model(config).requires_grad_(True)
        network = Network(model, recompute=recompute).train()
        ids = torch.arange(1, 11)[None]
        visible = torch.ones(1, 10, 10, dtype=torch.bool).tril()
        model.logits(network(ids, positions_of(ids), visible)[0]).logsumexp(-1).sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(float(g.abs().max()) > 0 for g in found[0])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_replies_in_a_batch_are_those_of_the_engine() -> None:
    config = tiny_config()
    engine = tiny_engine(config, seed=2)
    made = replies(Network(engine.model), PROMPTS, max_tokens=12)
    for prompt, (ids, score) in zip(PROMPTS, made, strict=True):
        alone = engine.reply(prompt, options=DecodeOptions(max_tokens=12))
        expected = [i for i in alone.ids if i != 0]
        assert ids == expected
        if len(ids) == 12:
            assert score == pytest.approx(engine.score(prompt, ids), abs=1e-3)


@pytest.mark.parametrize("layers", [None, (1,)])
def test_trajectories_are_the_engines_own(layers) -> None:
    config = CONFIGS["prompt_causal"]
    engine = tiny_engine(config, seed=5)
    engine.model.norm.mul_(0.1)  # else every guess is certain, and the order is one of ties
    made = trajectories(Network(engine.model, canvas_layers=layers), PROMPTS, canvas=8)
    options = DecodeOptions(
        rule="quota", canvas_length=8, steps=8, max_tokens=8, canvas_layers=layers
    )
    for example in made:
        assert sorted(example.order) == list(range(8))
        steps = list(engine.iterate(example.prompt, engine.new_cache(), options))
        for step in steps:
            view = step.canvas
            done = [i for i, masked in enumerate(view.masked) if not masked]
            assert [example.reply[i] for i in done] == [view.ids[i] for i in done]
            if step.stats is None:  # the last view is cut at the end of the reply
                assert sorted(example.order[i] for i in done) == list(range(len(done)))


def test_models_without_an_order_or_with_other_attention_are_refused() -> None:
    engine = tiny_engine(tiny_config())
    with pytest.raises(OptionError, match="taught to denoise"):
        trajectories(Network(engine.model), PROMPTS, canvas=4)
    other = tiny_engine(CONFIGS["bidirectional"])
    with pytest.raises(OptionError, match="causal, shifted"):
        replies(Network(other.model), PROMPTS, max_tokens=4)
    with pytest.raises(OptionError, match="prompt is empty"):
        replies(Network(engine.model), [()], max_tokens=4)
