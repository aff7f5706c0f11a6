"""English phrases that answer shipped questions at once, whatever the responder is.

A rule is sure or silent: each was written to be true of every sentence that holds its phrase.
Words as a recogniser writes them and as people type them are the same after `plain`.
"""

from __future__ import annotations

import re
from typing import Final

from agent.decision import Answer

SURE: Final = 0.97
"""Probability of "yes" where a phrase is found."""
SILENT: Final = 0.1
"""Probability of "yes" where none is, and no model is asked."""

_MUSIC: Final = re.compile(
    r"[\s♪♫🎵🎶*()\[\].…-]*(?:(?:hold )?music(?: playing)?[\s♪♫*()\[\].…-]*)*"
)
_ME: Final = r"(?:me|us|her|him|(?:this|our|the|that) (?:phone )?number|my (?:contact details|\w+))"
_CALLING: Final = (
    r"(?:call(?:ing)?|phon(?:e|ing)|ring(?:ing)?|dial(?:ling|ing)?|contact(?:ing)?|text(?:ing)?"
    r"|bother(?:ing)?)"
)
_OPT_OUT: Final = (
    rf"(?:stop|quit)(?: \w+ and)? {_CALLING}(?: (?:me|us|here|this|my|at this)\b|$)",
    rf"(?:don't|do not|never|not to|please don't)(?: you)?(?: ever)? {_CALLING}(?: {_ME})?"
    r"(?: (?:here|on this number|about this))? (?:again|any ?more|ever again|another time)",
    rf"(?:don't|do not|never) (?:you )?(?:ever )?{_CALLING} (?:this|my|our) (?:phone )?number\b",
    rf"(?:take|remove|scratch|strike|get|delete|drop|cross) {_ME} (?:off|from|out of)\b"
    r".{0,24}\b(?:list|lists|system|database|records?|registry|file|files|calls?)\b",
    r"\bdo not call (?:list|registry)",
    r"\b(?:remove|delete|erase) (?:my|our|this) (?:phone )?number\b",
    r"\b(?:no|not want|don't want|not wish|without) (?:any )?(?:more|further) "
    r"(?:of (?:these|your) )?(?:phone )?calls\b",
    r"\bopt(?: me)? out\b|\bunsubscribe(?: me)?(?: from (?:these|your|the|all)\b|$)",
    r"\blose (?:my|this) number\b",
    r"\btake me off$",
)
_STAFF: Final = (
    r"(?:(?:real |live |actual )?(?:human(?: being)?|person|people|agent|operator|representative"
    r"|rep|manager|supervisor|receptionist|nurse|advisor|adviser|colleague|member of staff)"
    r"|someone(?: real| else)?|somebody(?: real| else)?|customer (?:service|support|care)"
    r"|(?:the )?(?:front desk|reception)|(?:one of )?your (?:boss|colleagues|team|staff))"
)
_HUMAN: Final = (
    rf"\b(?:talk|speak|chat)(?:ing)? (?:to|with) (?:an? |the |your |any )?{_STAFF}\b",
    rf"\b(?:connect|transfer|put|pass|forward|hand|patch|switch)(?: me)?(?: over| through| on)?"
    rf"(?: to| with) (?:an? |the |your )?{_STAFF}\b",
    r"^(?:an? |the )?(?:real |live )?(?:human(?: being)?|person|agent|operator|representative)"
    r"(?: please| now)*$",
    r"\bput me through\b",
    r"\b(?:get|give|want|need|prefer)(?: me)? (?:an? |the )?(?:real |live |actual )"
    r"(?:human|person|agent)\b",
    r"\b(?:get|give)(?: me)? (?:an? |the |your )?(?:human|representative|operator|supervisor"
    r"|manager|agent)\b",
    r"\b(?:don't|do not) (?:want|like) to (?:talk|speak) (?:to|with) (?:an? |the )?"
    r"(?:robot|bot|machine|computer|ai)\b",
    r"^(?:customer (?:service|support|care)|operator|representative|receptionist)(?: please)*$",
)
_VOICEMAIL: Final = (
    r"\bleave (?:(?:me|us) )?(?:(?:a|your|it|the|any) )?(?:\w+[ ,]+){0,6}"
    r"(?:after|at|following) the (?:tone|beep|signal)\b",
    r"\b(?:after|at) the (?:tone|beep|signal)\b",
    r"\b(?:you've|you have|you) reached (?:the )?(?:voice ?mail|mailbox|voice message|answering)",
    r"\b(?:voice ?mail ?box|automated voice messag|mailbox is full|voice messaging system)",
    r"\b(?:record|leave) (?:your|a) (?:brief |short |detailed )?message\b(?! for| with| to)",
    r"\b(?:can't|cannot|unable to|can not) (?:come to|get to|answer|take) (?:the|your|my) "
    r"(?:phone|call)\b",
    r"\b(?:person|party|customer|subscriber|number) (?:that )?"
    r"(?:you|you're|you are|you've|you have) "
    r"(?:are )?(?:\w+ ){1,4}(?:is|are) (?:not |un|currently |using|no longer)",
    r"\b(?:sorry )?i missed your call\b",
    r"\bno one is available to (?:take|answer) your call\b",
    r"\bstate your name\b|\bcall(?: is)? (?:being )?screened\b|\bscreening service\b",
    r"\brecord your name\b.*\b(?:reason|calling|available|connect)",
)
_HOLD: Final = (
    r"\byour call is (?:very )?important to us\b",
    r"\bplease (?:continue to hold|remain on the line|stay on the line|hold the line)\b",
    r"\b(?:thank you|thanks) for (?:holding|your patience)\b",
    r"\ball (?:of )?(?:our |the )?(?:agents|operators|representatives|lines|advisors) are "
    r"(?:currently |still )?(?:busy|assisting|helping|with)\b",
    r"\bnext available (?:agent|representative|operator|advisor)\b",
    r"\b(?:in the order (?:it|they|in which)|will be answered (?:shortly|soon))\b",
    r"\byou are (?:number|caller|next)\b.*\b(?:queue|line)\b",
    r"\b(?:estimated|approximate|current|average) wait(?:ing)? time\b",
)
_NOT: Final = {
    "opt_out": r"\bwhy (?:did|do|don't) you\b|\b(?:call|ring) me (?:back )?(?:later|tomorrow)\b",
    "human": r"\b(?:don't|do not) (?:need|want) to (?:talk|speak) to (?:a |an )?(?:person|human)"
    r"|\b(?:spoke|talked|was speaking)\b",
    "voicemail": r"\b(?:can|could|may|should|do|how|why) (?:i|you|we)\b.*\b(?:leave|voice ?mail)"
    r"|\bi (?:left|got|heard)\b",
    "hold": r"\b(?:i|i've|i'm|we) (?:was|have been|been|am|keep)\b|\bthis person is available\b",
}
"""Phrases with which a rule stays silent."""
_RULES: Final = {
    name: (re.compile("|".join(f"(?:{each})" for each in found)), re.compile(_NOT[name]))
    for name, found in (
        ("opt_out", _OPT_OUT),
        ("human", _HUMAN),
        ("voicemail", _VOICEMAIL),
        ("hold", _HOLD),
    )
}
RULED: Final = frozenset(_RULES)
"""The questions that have rules."""


def plain(words: str) -> str:
    """The words in small letters, with straight apostrophes and without marks."""
    text = words.lower().replace("’", "'").replace("-", " ")
    return " ".join(re.sub(r"[^\w' ]+", " ", text).split())


def rule_answer(name: str, words: str) -> Answer | None:
    """The answer of a rule to a shipped question; None where it is silent or there is none."""
    if name not in _RULES or not words.strip():
        return None
    if name == "hold" and _MUSIC.fullmatch(words.lower()):
        return _answer(name, SURE)
    found, excluded = _RULES[name]
    text = plain(words)
    return _answer(name, SURE) if found.search(text) and not excluded.search(text) else None


def silent_answer(name: str) -> Answer:
    """The answer to a question with rules that no model is asked, where they are silent."""
    return _answer(name, SILENT)


def _answer(name: str, yes: float) -> Answer:
    value = yes > 0.5
    likely = {"yes": yes, "no": 1 - yes}
    label = "yes" if value else "no"
    return Answer(name, value, label, likely[label], likely, by="rule")
