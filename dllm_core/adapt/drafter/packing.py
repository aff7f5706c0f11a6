"""The last stage: calibration, weights in 8 bits, and a card that says how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dllm_core.adapt.drafter.measure import replayed, shares
from dllm_core.adapt.drafter.recording import RecordPlan
from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.adapt.drafter.training import LOG, held_out
from dllm_core.adapt.examples import read_rows
from dllm_core.draft import files
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.network import DraftNetwork

CARD = "README.md"


def pack(network: DraftNetwork, corpus: Corpus, run: Path, target: Path) -> str:
    """Write a drafter to `target`; returns its figures in a line.

    What is measured and calibrated is the network as it is packed, on conversations that were
    not trained on.
    """
    block = network.config.block
    files.save(network, Calibration.none(block), target, {})
    packed = files.read(target).network(network.embedding)
    drafted, tokens, passes = replayed(packed, corpus, held_out(corpus))
    pairs = [(each.depth, each.probability, each.right) for each in drafted]
    facts = {
        "training": _training(run, corpus),
        "measured": {
            "conversations": len(held_out(corpus)),
            "tokens_a_pass": round(tokens / max(1, passes), 3),
            "right_of_three": [round(3 * share, 3) for share in shares(drafted, block)],
        },
    }
    digest = files.save(network, Calibration.fitted(pairs, block), target, facts)
    (target / CARD).write_text(_card(network, facts, digest), encoding="utf-8")
    return f"{facts['measured']['tokens_a_pass']} tokens a pass as a chain, sha256 {digest}"


def _training(run: Path, corpus: Corpus) -> dict[str, Any]:
    rows = [row for _, row in read_rows(run / LOG)]
    last = rows[-1] if rows else {}
    plan = RecordPlan.read(corpus.directory)
    replies = sum(int((r[:, 1] - r[:, 0]).sum()) for r in corpus.replies)
    return {
        "seconds": last.get("seconds"),
        "steps": last.get("step"),
        "blocks": last.get("blocks"),
        "conversations": len(corpus),
        "reply_tokens": replies,
        "seed": plan.seed,
        "torch": torch.__version__,
    }


def _card(network: DraftNetwork, facts: Mapping[str, Mapping[str, Any]], digest: str) -> str:
    config, training = network.config, facts["training"]
    measured = facts["measured"]
    weights = sum(parameter.numel() for parameter in network.parameters())
    return f"""# Drafter for {config.base}

A block-diffusion drafter: it proposes up to {config.block} tokens at once, the base checks them, and the reply is the base's own, word by word.

| | |
|---|---|
| base | {config.base}, fingerprint `{config.fingerprint}` |
| weights | {weights / 1e6:.1f} million in 8 bits, `{files.WEIGHTS}`, sha256 `{digest}` |
| network | {config.layers} layers of width {config.hidden_size}, blocks of {config.block}, {config.words} words, hidden states after layers {", ".join(map(str, config.features))} |
| data | the base's greedy replies to {training["conversations"]} conversations, {training["reply_tokens"]} tokens |
| training | {training["seconds"]} s, {training["steps"]} steps, {training["blocks"]} blocks, seed {training["seed"]}, torch {training["torch"]}, on a CPU |
| measured | {measured["tokens_a_pass"]} tokens a pass of the base as a chain, on {measured["conversations"]} conversations that were not trained on |

Prompts: CLINC150 (Larson et al., EMNLP 2019, CC BY 3.0), the chit-chat datasets of Microsoft's Bot Framework (MIT), and patterns of this project.

Made by `onebreath adapt drafter`; `config.json` holds the same figures for programs.
"""


