"""Drafts of all replies, for Prometheus: passes, tokens, acceptance by depth."""

from __future__ import annotations

from prometheus_client import Counter

from dllm_core.decode.stats import DenoiseStats

PASSES = Counter(
    "onebreath_draft_passes",
    "Forward passes of replies under the rule draft; tokens per pass are said by passes.",
)
TOKENS = Counter(
    "onebreath_draft_tokens",
    "Tokens of these replies: said, drafted, accepted, unverified.",
    ["kind"],
)
DEPTH = Counter(
    "onebreath_draft_depth",
    "Passes that tried a token at a depth after all before it were accepted, and that accepted it.",
    ["depth", "outcome"],
)


def count(stats: DenoiseStats) -> None:
    """Add a reply, if it was drafted."""
    drafts = stats.drafts
    if drafts is None:
        return
    PASSES.inc(drafts.rounds)
    for kind, tokens in (
        ("said", stats.tokens),
        ("drafted", drafts.drafted),
        ("accepted", drafts.accepted),
        ("unverified", drafts.unverified),
    ):
        TOKENS.labels(kind).inc(tokens)
    for depth, (tried, right) in enumerate(zip(drafts.tried, drafts.right, strict=True), 1):
        DEPTH.labels(str(depth), "tried").inc(tried)
        DEPTH.labels(str(depth), "accepted").inc(right)
