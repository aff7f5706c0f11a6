"""Backchannels: "mhm", "I see" and other signs of listening, which do not interrupt the agent."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 80
"""Characters of words beyond which they are no backchannel."""

_PHRASES: Final = (
    r"m+(?:-?h+m+|-m+)?(?: them)?|mm+[aiou\d]|hm+|uh-?huh|u+h|u+m|er+m?|ah+|oh+|aha|huh|ooh+|wow"
    r"|yeah|yea|yep|yup|ya|yes|okay|ok|o\.k|kay|right|alright|all right|sure|sure thing|fine"
    r"|exactly|true|correct|indeed|absolutely|definitely|totally|of course|really|good|great|nice"
    r"|cool|perfect|lovely|interesting|awesome|amazing|i see|i know|i understand|i get it|got it"
    r"|gotcha|got you|makes sense|that makes sense|fair enough|sounds good|that's right"
    r"|that's true|that's good|that's great|that's nice|no way|oh no|oh my god|oh my"
    r"|ha(?:-?ha)*|he(?:h|-?he)+|lol|laughs?|laughing|laughter|laughing softly|chuckles?"
    r"|giggles?|coughs?|coughing|sighs?|sneezes?|sniffs?|clears throat|breathing"
)
_BACKCHANNEL: Final = re.compile(rf"(?:{_PHRASES})(?: (?:{_PHRASES}))*")
SHORTEST_ANSWER: Final = 0.21
"""Seconds of voice below which hardly any word is spoken: "hi" takes 0.22, "no" and "two" 0.27."""
STRAY_CHARACTERS: Final = 4
"""Characters of what a recogniser makes of a hum, at most."""
_SHORT_WORDS: Final = re.compile(
    r"[a-ln-z]|no|nope|nah|yes|yep|what|why|who|when|how|stop|wait|go|hi|hey"
)
_SPACE: Final = re.compile(r"[\s,.!?;:…—–()\[\]*♪\"“”]+")

_HUM: Final = re.compile(r"(?:(?:em+\d?|m[mnhaiu\d]{0,3}|nm[mnhaiu]{0,3})(?: |$))+(?:them$)?")
_SPELLED_HUM: Final = re.compile(r"m[ -](?:[mhn][ -])+[mhna]")
_HESITATION_IN_WORDS: Final = re.compile(
    r"(?:er+|error|earth|earn|urn|burn|burr|berm|per)(?: (?:er+m*|u+m+|u+h+|urn))*"
    r"|(?:[a-z']+ )?(?:u+m+|u+h+|er+m+)"
)
_HUM_IN_WORDS: Final = re.compile(r"(?:in|and) (?:(?:a|my|the)(?: (?:m|mom|mum|month))?|them)")


def is_hum(guess: str) -> bool:
    """Whether a guess at the first words is what a recogniser makes of a hum.

    It writes "M", "MMI", "Em" or "M-M-H-M".
    """
    plain = _SPACE.sub(" ", guess[:MAX_CHARACTERS].lower()).strip()
    return (_HUM.fullmatch(plain) or _SPELLED_HUM.fullmatch(plain)) is not None


def is_hesitation_in_words(guess: str) -> bool:
    """Whether a guess at the first words is what Whisper makes of "er, um": "Earth", "There, um".

    Callers say these words, too: it is for the calling code to wait for more than a guess.
    """
    plain = _SPACE.sub(" ", guess[:MAX_CHARACTERS].lower()).strip()
    return _HESITATION_IN_WORDS.fullmatch(plain) is not None


def is_hum_in_words(words: str) -> bool:
    """Whether the words, or their beginning, are those that Whisper makes of "mm-hmm".

    It writes "In a mom." or "and them". It is for the calling code to know that the sound was as
    short as a hum.
    """
    plain = _SPACE.sub(" ", words[:MAX_CHARACTERS].lower()).strip()
    return _HUM_IN_WORDS.fullmatch(plain) is not None


def is_backchannel(words: str) -> bool:
    """Whether the words are a backchannel: "mhm", "yeah, okay", "I see", a laugh, "um".

    "No", "stop", "wait" and everything with content ("yes, but") are not. The empty string is
    not either; a noise without words is for the calling code to judge.
    """
    if len(words) > MAX_CHARACTERS:
        return False
    plain = _SPACE.sub(" ", words.lower().replace("’", "'")).strip()
    return _BACKCHANNEL.fullmatch(plain) is not None


def is_stray_sound(words: str, seconds: float) -> bool:
    """Whether a sound of ``seconds`` of voice is a hum, and its words what was made of it.

    A hum of 0.2 s comes back as "10", "and" or "Yeah.". Words that people clip are not taken for
    one. It is for the calling code to know that nothing was asked.
    """
    plain = _SPACE.sub(" ", words.lower()).strip()
    short = seconds < SHORTEST_ANSWER and len(plain) <= STRAY_CHARACTERS
    return short and _SHORT_WORDS.fullmatch(plain) is None
