"""SentencePiece's BPE in GGUF files, as Llama 2, TinyLlama and Mistral have it.

The file has pieces with scores and no merges. Joining the neighbours whose piece has the highest
score, as SentencePiece does, is BPE with one merge for every way in which a piece is made of two
others, in the order of the scores; what is not in the vocabulary becomes bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers

_SPACE = "▁"
_BYTE = 6
"""Type of a piece for one byte, written <0x00> to <0xFF>."""
_LONGEST = 256
"""Characters of a piece that is made of others, at most."""


def sentencepiece(
    tokens: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    unknown: str,
    *,
    begins_with_space: bool,
) -> Backend:
    """The tokenizer of these pieces; `begins_with_space` puts one before every text.

    Raises:
        ValueError: there is not a score and a type for every piece.
    """
    if not len(tokens) == len(scores) == len(types):
        raise ValueError(f"{len(scores)} scores and {len(types)} types of {len(tokens)} tokens")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    backend = Backend(
        models.BPE(
            vocab=vocabulary,
            merges=list(_merges(vocabulary, scores)),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=_BYTE in types,
        )
    )
    space = normalizers.Replace(" ", _SPACE)
    steps = [normalizers.Prepend(_SPACE), space] if begins_with_space else [space]
    backend.normalizer = normalizers.Sequence(steps)
    first = [decoders.Strip(" ", 1, 0)] if begins_with_space else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *first]
    )
    return backend


def _merges(vocabulary: dict[str, int], scores: Sequence[float]) -> Iterator[tuple[str, str]]:
    """All pairs that make a piece: those of the highest scores first."""
    order = sorted(vocabulary.items(), key=lambda pair: (-scores[pair[1]], pair[1]))
    for piece, _ in order:
        if len(piece) > _LONGEST:
            continue
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        known = [(a, b) for a, b in pairs if a in vocabulary and b in vocabulary]
        # The parts of high scores are there first.
        yield from sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
