"""Word error rate of an agent's transcripts."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import ConfigError
from agent.extras import install


def word_error_rate(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Compute the word error rate (0 for a perfect transcript); None without any pairs.

    Both sides are brought into Whisper's English normal form, so that "12" and "twelve" are the
    same word. Source: Radford et al., "Robust speech recognition", 2022, appendix C.

    Args:
        pairs: words that were said, and the transcript.

    Raises:
        ConfigError: jiwer or whisper-normalizer is not installed.
    """
    if not pairs:
        return None
    try:
        import jiwer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise ConfigError(
            f"the word error rate needs jiwer; install it: {install('lab')}"
        ) from None
    normal = EnglishTextNormalizer()
    said = [normal(text) for text, _ in pairs]
    understood = [normal(text) for _, text in pairs]
    return float(jiwer.wer(said, understood))
