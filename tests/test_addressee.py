"""Speech to others: rules, the head's word for it, and a caller who repeats himself."""

from __future__ import annotations

import time

import pytest

from agent.config.settings import TurnSettings
from agent.reply import TurnEnding
from agent.session.endpointing import Endpointing
from agent.session.overlap import WordKind, classify
from agent.turn_taking.addressee import (
    BY_RULE,
    DOUBT,
    SURE,
    Addressee,
    others_probability,
    speaks_to_others,
)


@pytest.mark.parametrize(
    "words",
    [
        "Honey, can you pass me the salt?",
        "Okay honey, one minute.",
        "honey can you",
        "Honey can",
        "Mom did you see that",
        "Sweetheart, not now.",
        "Mom, I'm talking.",
        "No, dad, it's fine.",
        "Honey",
        "Honey...",
        "Sorry, I'm on the phone.",
        "Just a minute, I am on a call.",
        "Hold on, somebody is at the door.",
        "There's someone at the door.",
        "Sit down, good boy.",
        "Sit down",
        "Hey, come here!",
        "No, get down now.",
        "Get off the couch.",
        "Go to your room.",
        "Pass me the salt.",
        "Bad dog!",
        "No, the other one, put it on the table.",
        "Put that back in the fridge, please.",
        "Just put the bags on the floor.",
        "Yes, put them by the bed.",
        "Not you.",
        "I'm on the phone. Be quiet, please.",
        "I wasn't talking to you.",
        "I’m still on the phone, mom.",
    ],
)
def test_words_to_others(words):
    assert speaks_to_others(words)
    assert classify(words) is WordKind.ASIDE


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Honey and lemon tea, please.",
        "Love can be hard.",
        "Dear can openers",
        "How do you make honey?",
        "Sit down and tell me a story.",
        "Hold on, somebody is at the door. My phone number is 555 214 9837.",
        "How do I get off the couch?",
        "Come here often?",
        "Put it on the calendar.",
        "Put it on my shopping list.",
        "Should I put it in the fridge?",
        "Remind me to put it on the table.",
        "What happens if you put it in the sink?",
        "Put a timer on the table view.",
        "Get down to business.",
        "Pass me to a colleague.",
        "Go to sleep.",
        "Call my mom.",
        "Text mom that I'm late.",
        "Wish a happy birthday to my dad",
        "Dear Sir or Madam",
        "Who is at the door?",
        "What is a good dog for children?",
        "Open the door.",
        "How do I put someone on hold on the phone?",
        "Can you put me on the line with a doctor?",
        "Love is all you need.",
        "Is my mother on the line?",
        "Write a poem for my darling",
    ],
)
def test_words_to_the_agent(words):
    assert not speaks_to_others(words)


def test_long_words_are_judged_at_once():
    began = time.process_time()
    assert not speaks_to_others("honey, " * 20_000)
    assert not speaks_to_others("not " * 40)
    assert time.process_time() - began < 0.5


def ending(aside: float) -> TurnEnding:
    return TurnEnding(1.0 - aside, 0.0, aside, 0.0, 0.0)


def test_the_surer_of_rule_and_head_counts():
    assert others_probability("What is the time?", None) == 0.0
    assert others_probability("What is the time?", ending(0.7)) == 0.7
    assert others_probability("Honey, look.", ending(0.1)) == BY_RULE
    assert others_probability("Honey, look.", ending(0.97)) == 0.97
    assert others_probability("Honey, look.", None, "de") == 0.0


def test_who_says_the_same_again_means_the_agent():
    addressee = Addressee()
    assert not addressee.is_agent("Open the garage door.", SURE)
    assert addressee.is_agent("Open the garage door now!", 0.99)
    assert not addressee.is_agent("Dinner is ready.", SURE)
    assert not addressee.is_agent("Come here, good boy.", SURE)
    assert addressee.is_agent("What is the time?", SURE - 0.01)
    assert not addressee.is_agent("Come here, good boy.", SURE)


def test_doubtful_words_wait_longer_and_sure_ones_do_not():
    endpointing = Endpointing(TurnSettings(), "en")
    words = "Dinner is almost ready."
    usual = endpointing.delay_after(words, 1.0, 0.0, ending(0.0))
    assert endpointing.delay_after(words, 1.0, 0.0, ending(DOUBT)) == pytest.approx(2.5)
    assert endpointing.delay_after(words, 1.0, 0.0, ending(0.3)) < 1.0
    assert usual < 1.0
    assert endpointing.delay_after(words, 1.0, 0.0, ending(SURE)) < 1.0


def test_it_can_be_turned_off():
    endpointing = Endpointing(TurnSettings(asides=False), "en")
    assert endpointing.to_others("Honey, look.", ending(0.97)) == 0.0
    assert endpointing.delay_after("Dinner is ready.", 1.0, 0.0, ending(DOUBT)) < 1.0
