"""Words about the floor: "stop", "hold on", "are you there?" say who speaks, and ask for nothing.

They get no speech for an answer. "Stop" and "give me a second" want silence; "hello?" in a wait
wants the answer that is due.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

MAX_CHARACTERS: Final = 120
"""Characters of words beyond which they are about more than the floor."""


class FloorRequest(Enum):
    """The wish about the floor that words express."""

    NONE = auto()
    """The words are about something else."""
    STOP = auto()
    """The agent is to fall silent, and what was asked need not be answered: "never mind"."""
    WAIT = auto()
    """The agent is to wait until the caller goes on: "one moment", or only "um"."""
    ATTENTION = auto()
    """The caller asks whether anybody listens: "hello?", "can you hear me?"."""


_NUMBER: Final = r"\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|fifteen|twenty|thirty"
_TIME: Final = (
    rf"(?:(?:a|one|another|just a|half a|a few|a couple of|some|a little|{_NUMBER})? ?"
    r"(?:seconds?|secs?|minutes?|moments?|bit|mo|time|while))"
)
_SPEECH: Final = (
    r"(?:talking|speaking|reading|explaining|repeating|telling|saying|listing|counting|singing"
    r"|going on|chatting|rambling|lecturing)"
)
"""What an agent does that speaks; "stop smoking" is no wish about the floor."""
_THINGS: Final = (
    r"(?:(?:my|a|the|some) (?:reading )?(?:glasses|pen|pencil|paper|card|wallet|phone|notes|keys"
    r"|purse|bag|password))"
)
_UNTIL: Final = (
    r"(?: (?:until|till|while) (?:(?:i am|i'm|i have|i've) (?:done|back|ready|finished|thinking)"
    rf"|i (?:just )?(?:think|check|look|(?:get|grab|find|fetch|look for) (?:it|that|{_THINGS}))))"
)
_STOP: Final = (
    r"(?:stop|be quiet)(?: it| that| this| now| here| there| right there| right now)?"
    rf"(?: for {_TIME})?"
    r"|(?:would|do) you mind stopping(?: now| that)?|(?:that will|that'll) do"
    rf"|(?:stop|quit) {_SPEECH}(?: (?:to )?me)?(?: (?:it|that|this|now|about (?:it|that|this)))?"
    rf"(?: for {_TIME})?|stop (?:it now|the story)"
    r"|(?:let's|let us) (?:stop(?: it)?|leave it)(?: here| there| at that)?"
    r"|i told you to (?:stop|be quiet|wait)"
    r"|scratch that|(?:it )?(?:doesn't|does not) matter"
    r"|(?:you (?:can|may|should)|i (?:want|need) you to) (?:stop|be quiet|shut up)"
    r"(?: talking| speaking| now)?"
    r"|(?:be |keep |stay )?quiet|be silent|silence|hush(?: up)?|s+ ?h+(?: h+)*(?:ush)?"
    r"|shut (?:up|it|your mouth)"
    r"|pipe down|zip it|knock it off|cut it out|quit it|give it a rest"
    r"|(?:that's|that is|it's|that was|that will be|that'll be)? ?(?:quite |more than )?enough"
    r"|enough(?: of that| already| now| talking)"
    r"|never ?mind(?: that| about that| then)?|forget (?:it|that|about it|about that|i asked)"
    r"|don't (?:bother|worry about it)|drop it|leave it(?: there| at that)?"
    r"|(?:i've|i have|i) heard (?:quite )?enough(?: of (?:it|that|this))?"
    r"|don't (?:go on|continue)(?: (?:with )?(?:it|that|this))?"
)
_WAIT: Final = (
    rf"wait(?: up)?(?: for)?(?: {_TIME})?{_UNTIL}?"
    rf"|hold|hold the line|(?:hold|hang) (?:on|up|it|that thought|your horses)(?: there)?(?: for)?"
    rf"(?: {_TIME})?{_UNTIL}?"
    rf"|(?:just )?(?:give|gimme)(?: me| us)? {_TIME}(?: to (?:think|check|look|see))?"
    rf"|(?:just )?(?:one|a|half a|just one|just a) (?:seconds?|secs?|minute|moment|mo|tick)"
    rf"|(?:i|we) (?:need|want|have)(?: to)?(?: just)? (?:{_TIME}|think)"
    r"(?: to (?:think|check|look|see))?"
    rf"|let me (?:think|see|check|look|finish|talk|speak|have a look)"
    rf"(?: about (?:it|that|this))?(?: for)?(?: {_TIME})?"
    rf"|(?:i'll|i will|i'm going to) (?:think|be right back|be back)(?: about it)?(?: in)?"
    rf"(?: {_TIME})?"
    rf"|(?:i'm|i am) (?:still )?(?:thinking|not (?:done|finished)(?: yet)?|still talking)"
    rf"|(?:i'm not|i wasn't|i am not) (?:done|finished)(?: yet)?"
    r"|(?:can|could|may) i (?:just |please )?(?:finish|think)(?: my (?:thought|sentence))?"
    rf"|let me (?:just |quickly )?(?:check|get|grab|find|fetch|look for) (?:something|{_THINGS})"
    rf"|excuse me (?:for )?{_TIME}"
    rf"|(?:would|do) you mind (?:waiting|holding)(?: on)?(?: for)?(?: {_TIME})?"
    rf"|(?:i'll|i will) be (?:with you|there|back)(?: in)? {_TIME}|let me just (?:check|look|see)"
    rf"|bear with me(?: for)?(?: {_TIME})?|not now|pause(?: for)?(?: {_TIME})?|stand by|time out"
    r"|be right back"
    rf"|don't (?:interrupt(?: me)?|talk|speak|say anything)(?: yet| now)?|slow down a second"
)
_ATTENTION: Final = (
    r"hell+o+|hallo|halo|hey(?: there)?|hi(?: there)?|yo"
    r"|(?:is |are )?(?:anybody|anyone|someone|somebody|you)(?: still| even)?"
    r" (?:there|here|home|listening|alive|awake|with me|on the line|working on (?:it|that))"
    r"|can (?:anybody|anyone|someone|somebody) hear me|(?:are we|am i) still (?:connected|on)"
    r"|(?:can|could|did|do|are) you (?:still |even )?"
    r"(?:hear|hearing|get|catch|listening to|understand)"
    r" (?:me|that|what i said|my question)"
    r"|still there|(?:are you|you) (?:still )?(?:listening|working|thinking|frozen|with me)"
    r"|did i lose you|have i lost you|is (?:this|it) (?:thing )?(?:still )?(?:on|working)"
    r"|what's taking so long"
)
_HESITATION: Final = r"u+h+m*|u+m+|er+m*|e+h+m*|h+m+|a+h+m+|a+h+"
"""Sounds of a caller who is about to speak; "mm" may be a yes."""
_AROUND: Final = (
    r"please|okay|ok|oh|no|nope|yes|yeah|hey|um|uh|er|ah|so|but|well|now|just|right|alright"
    r"|all right|sorry|thanks|thank you|excuse me|actually|then|will you|would you|can you"
    r"|could you|for me|i said|i say|agent|computer|assistant|robot|man|dude|sir|ma'am|for now"
    r"|there|already|again|h+m+|(?:it's|it is|that's) (?:fine|okay|ok|alright|all right)"
    r"|i (?:get|got|see|understand|know)(?: it| that)?|got it"
    r"|i'll (?:do|find|figure|look|check|work) (?:it|that)(?: out| up)?(?: myself)?"
)


def _whole(core: str) -> re.Pattern[str]:
    """Matches words that are ``core``, perhaps repeated, with openings and courtesies around."""
    return re.compile(rf"(?:(?:{_AROUND}) )*(?:{core})(?: (?:{_AROUND}|{core}))*")


_STOP_WORDS: Final = _whole(rf"{_STOP}|{_WAIT}")
_WAIT_WORDS: Final = _whole(_WAIT)
_ATTENTION_WORDS: Final = _whole(_ATTENTION)
_HESITATIONS: Final = re.compile(
    rf"(?:(?:so|well|but|and|like|oh) )*(?:{_HESITATION})(?: (?:{_HESITATION}|so|well|like|oh))*"
)
_SPACE: Final = re.compile(r"[\s,.!?;:…—–\-()\[\]*♪\"“”]+")
_MISHEARD: Final = r"start|stock|top|up"
"""What Whisper makes of "stop" over a telephone, beside "stop" itself."""
_SILENCES: Final = re.compile(
    r"(?:(?:oh|okay|ok|hey|please|no|nope) )*"
    rf"(?:(?:no|nope) (?:no|nope|stop)|(?:{_MISHEARD})(?: (?:{_MISHEARD}|it|talking|speaking))*"
    r"|(?:just )?one (?:set|sack|sick))(?: (?:no|nope|please|stop|thanks))*"
)


def plain_words(words: str) -> str:
    """The words in small letters, without punctuation; at most ``MAX_CHARACTERS`` are read."""
    return _SPACE.sub(" ", words[:MAX_CHARACTERS].lower().replace("’", "'")).strip()


def silences(words: str) -> bool:
    """Whether English words that cut a statement of the agent's ask it to be silent.

    "No, no", "start talking" and "one set" ("stop talking" and "one sec" over a telephone) would
    ask for something elsewhere.
    """
    return _SILENCES.fullmatch(plain_words(words)) is not None


def floor_request(words: str) -> FloorRequest:
    """The wish about the floor that all of the words express; NONE if they say anything else.

    "Stop the timer", "wait, I mean Boston" and "never mind, what time is it?" are NONE.
    """
    if len(words) > MAX_CHARACTERS:
        return FloorRequest.NONE
    plain = plain_words(words)
    asks = words.rstrip().endswith("?")  # "hm?" wants to be answered
    if _WAIT_WORDS.fullmatch(plain) or (_HESITATIONS.fullmatch(plain) and not asks):
        return FloorRequest.WAIT
    if _STOP_WORDS.fullmatch(plain):
        return FloorRequest.STOP
    return FloorRequest.ATTENTION if _ATTENTION_WORDS.fullmatch(plain) else FloorRequest.NONE
