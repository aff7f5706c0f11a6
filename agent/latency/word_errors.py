"""Word error rate of what an agent understood."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import ConfigError


def word_error_rate(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Errors over all words that were said; None where there are no words.

    Both sides are put into Whisper's English normal form, so that "12" and "twelve" are
    the same word (Radford et al., "Robust speech recognition", 2022, appendix C).

    Args:
        pairs: what was said, and what was understood.

    Raises:
        ConfigError: the packages for it are not installed.
    """
    if not pairs:
        return None
    try:
        import jiwer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise ConfigError(
            "the word error rate needs jiwer; install the extra: pip install -e '.[lab]'"
        ) from None
    normal = EnglishTextNormalizer()
    said = [normal(text) for text, _ in pairs]
    understood = [normal(text) for _, text in pairs]
    return float(jiwer.wer(said, understood))
