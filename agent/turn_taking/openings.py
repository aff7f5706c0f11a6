"""The first words of a caller who takes the floor, in English: "wait", "no", "what about".

They tell an interruption from a sign of listening before the rest of it is said.
"""

from __future__ import annotations

import re
from typing import Final

from agent.turn_taking.floor import plain_words

_BEFORE: Final = (
    r"okay|ok|yeah|yep|yup|yes|oh|well|so|um|uh|er|erm|and|hey|alright|all right|right|ah|sure|fine"
    r"|m+(?: ?h+m+)?|uh huh|i see|got it|great|good|cool|thanks|thank you"
)
_OPENINGS: Final = (
    r"stop|wait|no|nope|hold|hang on|never|shut|quiet|be quiet|sorry|excuse|pardon|actually"
    r"|listen|hush|but|please|(?:tell|give|let) (?:me|us)|that's (?:not|wrong|enough)"
    r"|(?:what|what's|how|why|where|when|who|which) [a-z']+|(?:can|could|would|will) (?:you|i|we)"
    r"|i (?:mean|meant|want|need|said|don't|didn't|asked)"
)
_TAKES_FLOOR: Final = re.compile(rf"(?:(?:{_BEFORE}) )*(?:{_OPENINGS})(?: |$)")
_ONLY_OPENS: Final = re.compile(
    r"(?:(?:no|nope|oh|sorry|i'm sorry|excuse me|pardon me|actually|but|listen|look|well"
    r"|wait(?: [a-z]+)?)(?: |$))+"
)


def takes_floor(words: str) -> bool:
    """Whether the words begin like those of a caller who takes the floor: "wait", "can you".

    A recogniser seldom makes one of these of a sign of listening or a cough, even where it has
    heard a fraction of a second only.
    """
    return _TAKES_FLOOR.match(plain_words(words)) is not None


def only_opens(words: str) -> bool:
    """Whether the words object or ask for the floor, and what they are for is still to come.

    After a statement of the agent's, "I meant Rome" follows "no", "sorry" or "wait, actually".
    "Sorry?" asks for a repetition, and is whole.
    """
    asks = words.rstrip().endswith("?")
    return not asks and _ONLY_OPENS.fullmatch(plain_words(words)) is not None
