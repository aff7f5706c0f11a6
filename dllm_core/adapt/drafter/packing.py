"""The last stage: calibration, weights in 8 bits, and a card that says how they were made."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dllm_core.adapt.drafter.counting import ngrams
from dllm_core.adapt.drafter.gradients import held_out
from dllm_core.adapt.drafter.measure import replayed, shares
from dllm_core.adapt.drafter.recording import RecordPlan
from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.adapt.drafter.training import LOG
from dllm_core.draft import files
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.config import BaseConfig
from dllm_core.draft.network import DraftNetwork
from dllm_core.errors import DataError
from dllm_core.json_lines import read_rows

CARD, EVALUATION = "README.md", "evaluation.jsonl"
TEMPLATE, COUNTS_TEMPLATE = "card.md", "counts_card.md"
_BY_DOMAIN = "\n## By domain\n"


def pack(
    network: DraftNetwork, corpus: Corpus, run: Path, target: Path, marker: Sequence[int] = ()
) -> str:
    """Write a drafter to `target`; returns its figures in a line. `marker` are the tokens right
    before a caller's words in a prompt.

    What is measured and calibrated is the network as it is packed, on conversations that were
    not trained on. Recordings that were made after the training count for the n-grams alone.
    """
    block = network.config.block
    training = _training(run, corpus)
    kept = [i for i in held_out(corpus) if i < training["conversations"]]
    files.save(network, Calibration.none(block), target, {})
    packed = files.read(target).network(network.embedding)
    drafted, tokens, passes = replayed(packed, corpus, kept)
    table = ngrams(corpus, held_out(corpus), marker)
    pairs = [(each.depth, each.probability, each.right) for each in drafted]
    facts = {
        "training": training,
        "measured": {
            "conversations": len(kept),
            "tokens_a_pass": round(tokens / max(1, passes), 3),
            "right_of_three": [round(3 * share, 3) for share in shares(drafted, block)],
        },
        "ngrams": {
            "contexts": len(table.keys),
            "conversations": len(corpus) - len(held_out(corpus)),
        },
    }
    digest = files.save(network, Calibration.fitted(pairs, block), target, facts, table)
    (target / CARD).write_text(_card(network, facts, digest), encoding="utf-8")
    return f"{facts['measured']['tokens_a_pass']} tokens a pass as a chain, sha256 {digest}"


def pack_counts(
    config: BaseConfig, corpus: Corpus, target: Path, marker: Sequence[int] = ()
) -> str:
    """Write a drafter without a network to `target`; returns its figures in a line.

    Raises:
        DataError: there are no recordings.
    """
    kept = held_out(corpus)
    if len(corpus) <= len(kept):
        raise DataError(f"{corpus.directory} holds no recordings to count: record some first.")
    table = ngrams(corpus, kept, marker)
    facts = {
        "ngrams": {
            "contexts": len(table.keys),
            "conversations": len(corpus) - len(kept),
            "reply_tokens": _reply_tokens(corpus, len(corpus)),
            "held": len(kept),
            "seed": RecordPlan.read(corpus.directory).seed,
        }
    }
    digest = files.save_counts(config, table, target, facts)
    values = {
        "base": config.base,
        "fingerprint": config.fingerprint,
        "file": files.WEIGHTS,
        "sha256": digest,
        **facts["ngrams"],
    }
    (target / CARD).write_text(_template(COUNTS_TEMPLATE).format(**values), encoding="utf-8")
    told = facts["ngrams"]
    return f"{told['contexts']} contexts of {told['conversations']} conversations, sha256 {digest}"


def _template(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")


def _training(run: Path, corpus: Corpus) -> dict[str, Any]:
    rows = [row for _, row in read_rows(run / LOG)]
    last = rows[-1] if rows else {}
    plan = RecordPlan.read(corpus.directory)
    conversations = last.get("conversations", len(corpus))
    return {
        "seconds": last.get("seconds"),
        "steps": last.get("step"),
        "blocks": last.get("blocks"),
        "conversations": conversations,
        "reply_tokens": _reply_tokens(corpus, conversations),
        "precision": last.get("precision"),
        "seed": plan.seed,
        "torch": torch.__version__,
    }


def _reply_tokens(corpus: Corpus, conversations: int) -> int:
    return sum(int((r[:, 1] - r[:, 0]).sum()) for r in corpus.replies[:conversations])


def _card(network: DraftNetwork, facts: Mapping[str, Mapping[str, Any]], digest: str) -> str:
    """The card of the weights, for people."""
    config = network.config
    weights = sum(parameter.numel() for parameter in network.parameters())
    values = {
        **facts["training"],
        **facts["measured"],
        "base": config.base,
        "fingerprint": config.fingerprint,
        "millions": f"{weights / 1e6:.1f}",
        "file": files.WEIGHTS,
        "sha256": digest,
        "layers": config.layers,
        "width": config.hidden_size,
        "block": config.block,
        "words": config.words,
        "after": ", ".join(map(str, config.features)),
        "held": facts["measured"]["conversations"],
        "contexts": facts["ngrams"]["contexts"],
        "counted": facts["ngrams"]["conversations"],
        "recorded": facts["training"]["conversations"],
    }
    return _template(TEMPLATE).format(**values)


def tell_evaluation(target: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the rows of an evaluation to the card, in place of earlier ones."""
    columns = ("domain", "replies", "equal", "tokens_a_pass", "drafted_a_pass")
    table = [
        "| domain | replies | words equal | tokens a pass | drafted a pass |",
        "|---" * len(columns) + "|",
        *("| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows),
    ]
    card = (target / CARD).read_text(encoding="utf-8").partition(_BY_DOMAIN)[0]
    text = f"{card}{_BY_DOMAIN}\n" + "\n".join(table) + "\n"
    (target / CARD).write_text(text, encoding="utf-8")
