"""Models of a true geometry with random weights, which do not change the time of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dllm_core.config import ModelConfig
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.transformer import Linear, Transformer
from dllm_core.model.weights import build
from dllm_core.ops.geometry import LLADA_8B

TINY = ModelConfig(
    family="llada",
    vocab_size=160,
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_kv_heads=4,
    head_dim=16,
    context_length=256,
    rope_theta=10_000.0,
    norm_eps=1e-5,
    eos_ids=(1,),
    mask_id=2,
    attention="bidirectional",
    shift=False,
    tied_head=False,
)
SPREAD = 0.02
"""Standard deviation of the weights, as checkpoints are initialised."""
FIRST_WORD = 10
"""Least id of random prompts; special tokens have smaller ones."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a measurement: a true geometry, or a small one to try the programs.

    Attributes:
        config: shape of the model.
        canvas: positions of a canvas.
        cached: tokens of the prompt.
        steps: numbers of steps per canvas.
        batches: numbers of sequences.
        repeats: samples whose median is reported.
        energy_seconds: seconds that each arm runs while its energy is read.
    """

    config: ModelConfig
    canvas: int
    cached: int
    steps: tuple[int, ...]
    batches: tuple[int, ...]
    repeats: int
    energy_seconds: float

    @property
    def context(self) -> int:
        """Positions of a prompt and two canvases."""
        return self.cached + 2 * self.canvas


REAL = Sizes(LLADA_8B, 64, 512, (8, 16), (1, 8, 32), 10, 4.0)
SMALL = Sizes(TINY, 8, 70, (2, 4), (1, 3), 2, 0.05)


def random_model(
    config: ModelConfig, dtype: str, context: int, device: torch.device, seed: int = 0
) -> Transformer:
    """Weights drawn on the device, the same for both formats but for their rounding."""
    kind = Fp8Linear if dtype == "fp8" else Linear
    model = build(config, kind, context, torch.bfloat16, device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name in ("embedding", "weight", "bias"):
                weight = getattr(module, name, None)
                if not isinstance(weight, torch.Tensor):
                    continue
                drawn = torch.empty(weight.shape, dtype=torch.bfloat16, device=device)
                drawn.normal_(0.0, SPREAD, generator=generator)
                if isinstance(module, Fp8Linear) and name == "weight":
                    module.store_rows(0, drawn)
                else:
                    weight.copy_(drawn)
        for name, parameter in model.named_parameters():
            if name.endswith("norm"):
                parameter.fill_(1.0)
    return model


def prompts(config: ModelConfig, count: int, length: int, seed: int = 1) -> list[list[int]]:
    """Random prompts without special tokens, as they would end a reply."""
    generator = torch.Generator().manual_seed(seed)
    special = min((*config.eos_ids, config.mask_id or config.vocab_size))
    stop = special if special > FIRST_WORD else config.vocab_size
    drawn = torch.randint(FIRST_WORD, stop, (count, length), generator=generator)
    return [[int(token) for token in row] for row in drawn]
