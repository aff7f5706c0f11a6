"""Settings of how the engine denoises a reply; the model decides on those that are not set."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Rule = Literal[
    "fixed_point", "sequential", "quota", "threshold", "factor", "entropy_bound", "dynamic",
    "remask", "draft",
]  # fmt: skip
Confidence = Literal["probability", "margin", "entropy", "random"]
CachePolicy = Literal["auto", "none", "prompt_frozen", "prefix", "dual", "exact"]


class DecodingSettings(BaseModel):
    """How the engine denoises a reply (docs/models.md); None: as suits the model.

    Attributes:
        rule: decides which positions of the canvas become final after a step.
        steps: forward passes of a canvas, for the rules ``quota`` and ``dynamic``.
        canvas_length: positions that are denoised together.
        first_canvas: positions of the first canvas of a reply, so that speech begins early.
        block_length: positions of a canvas that are finished together, from left to right.
        threshold: confidence from which ``threshold``, ``dynamic`` and ``remask`` commit; 0 to 1.
        factor: scale of the rule ``factor``.
        entropy_bound: bound of the rule ``entropy_bound``, in nats.
        remask_below: probability below which ``remask`` opens a position again; 0 to 1.
        cache: keys and values that are kept from step to step.
        confidence: measure by which positions are ranked.
        timesteps: whether the quota follows Dream's timesteps.
        guidance: scale of classifier-free guidance.
        temperature: sampling temperature; 0 takes the likeliest token.
        top_p: probability mass of the tokens that sampling draws from.
        top_k: number of best tokens that count.
        seed: seed of the noise.
        eos_last: whether the end of the reply is committed after all other positions.
        rounds: passes of the model for a whole reply, for the rule ``draft``; what is drafted with
            confidence is then added without a check.
        draft_rows: most tokens that the rule ``draft`` checks in a pass, the known one included.
        draft_echo: whether ``draft`` also proposes what followed the last tokens before.
        draft_ngrams: whether ``draft`` also proposes what the model usually says after them.
        context: longest prompt plus reply, in tokens.
        config: fields of the model's configuration that its files leave out, such as
            ``{ attention = "block_causal", block_length = 32 }``.
        packed_weights: directory in which packed weights are kept between runs, or ``off``; None:
            in ``ONEBREATH_PACKED_WEIGHTS``, or in the user's cache directory.
        packed_limit: most gigabytes of all packed weights there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Rule | None = None
    steps: int | None = Field(None, ge=1, le=1024)
    canvas_length: int | None = Field(None, ge=1, le=1024)
    first_canvas: int | None = Field(None, ge=1, le=1024)
    block_length: int | None = Field(None, ge=1, le=1024)
    threshold: float | None = Field(None, ge=0, le=1)
    factor: float | None = Field(None, ge=0)
    entropy_bound: float | None = Field(None, ge=0)
    remask_below: float | None = Field(None, ge=0, le=1)
    cache: CachePolicy | None = None
    confidence: Confidence | None = None
    timesteps: bool | None = None
    guidance: float | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=2)
    seed: int | None = None
    eos_last: bool | None = None
    rounds: int | None = Field(None, ge=1, le=512)
    draft_rows: int | None = Field(None, ge=1, le=32)
    draft_echo: bool | None = None
    draft_ngrams: bool | None = None
    context: int | None = Field(None, ge=16)
    config: dict[str, Any] = Field({})
    packed_weights: str | None = Field(None, min_length=1)
    packed_limit: float | None = Field(None, gt=0, le=1e6)

    def decoding(self) -> dict[str, Any]:
        """The options of a reply that are set, by their names in `dllm_core.DecodeOptions`."""
        names = (name for name in DecodingSettings.model_fields if name not in _OF_LOADING)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def loading(self) -> dict[str, Any]:
        """The arguments of `dllm_core.Engine.load` that are set."""
        values = {
            "context": self.context,
            "config": self.config or None,
            "packed": self.packed_weights,
            "packed_limit": None if self.packed_limit is None else int(self.packed_limit * 1e9),
        }
        return {name: value for name, value in values.items() if value is not None}


_OF_LOADING = ("context", "config", "packed_weights", "packed_limit")
