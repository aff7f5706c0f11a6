"""Every rule, by phrases that it must take and phrases that it must leave to others."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.turn_taking.completeness import (
    RULES,
    Completeness,
    TurnVerdict,
    completeness,
)
from agent.turn_taking.last_sentence import MAX_CHARACTERS

INCOMPLETE = {
    "hesitation": """
        Um.
        I'd like, um
        I'd like to book a table for, uh.
        My name is, erm
        It was, you know.
        Let me see.
        Can you, hold on.
        It's called, um, let me think.
        Well, I mean.
    """,
    "correction": """
        Set a timer for ten, no.
        Set a timer for ten, no, wait.
        Call Anna, no
        Book a table for two, actually.
        Send it to Peter, sorry, no.
        What's the weather in Paris, sorry.
    """,
    "announcement": """
        One more thing.
        Okay, one more thing.
        Oh, and another question.
        By the way.
        First of all
        And also.
        Could you also?
        Can you, can you
        On the other hand.
    """,
    "trails_off": """
        I'd like to book...
        I was thinking…
        I want to go to-
        What I need is a flight to Boston,
        The thing is —
        I need three things:
    """,
    "opener": """
        I'd like.
        I would like
        Can you.
        Could you please.
        My name is.
        Hello, I'd like.
        What about?
        So.
        Yes, but.
        Actually
        Tell me.
        I was wondering if.
        I'm looking for.
        What is?
    """,
    "connective": """
        I'd like a coffee and.
        Do you have tea or
        I can't come because.
        I want to book a
        What is the?
        It belongs to my.
        I need a lot of.
        It is bigger than.
        Tomorrow I'll.
        The reason is that they're
        I need milk, eggs, and.
        What's the capital of?
        I don't know whether.
        She said that it's.
        The trouble is that
        Call her and say that.
    """,
    "adjective": """
        Delete the last.
        I bought a new
        It is the only.
    """,
    "then": """
        Turn left at the church, then.
        Show me flights from Denver then
    """,
    "wh_word": """
        Could you explain what?
        I don't remember when.
        He never told me where
    """,
    "subject": """
        And then we.
        Yesterday I
        I think that he.
        What should I?
    """,
    "preposition": """
        I'd like to book a table for.
        I want to fly to.
        What's the weather like in?
        A flight from Boston to
        I have an appointment at.
        I live in
        The meeting is on.
        I'd like to talk about
        Please send it to.
        What's the weather in?
        How do I get from the airport to?
    """,
    "auxiliary": """
        The weather is.
        My appointment was
        The problem I have is.
        What time is?
        The people in the office are
        Tomorrow the train will.
    """,
    "no_object": """
        I'd like to book.
        I want to order
        We'd like to reserve.
        Can you give me?
        Does the museum have?
        Who wrote?
        Could you tell me?
        Please send me.
        Tomorrow I need.
    """,
    "no_verb": """
        When does the next train?
        Could the other gentleman?
        What time do the shops?
        Would it?
    """,
    "condition": """
        If it rains tomorrow.
        If I take the early train.
        Unless you have something cheaper.
        Whenever I call this number.
        So if we leave at eight.
        When I press the green button.
        As soon as I open the app.
    """,
    "open_list": """
        I need milk, eggs, bread.
        Milk, eggs, butter
        We want red, green, blue.
        I speak English, French, Spanish.
    """,
    "half_name": """
        Who is the president of the United?
        Could you put me through to Doctor?
    """,
    "half_time": """
        The meeting is at half.
        What is a hundred divided?
    """,
    "negation": """
        Tell him that we're not.
        I can't.
    """,
    "quantifier": """
        Do you have any.
        Are there many?
    """,
    "bare_adjective": """
        Book me a direct.
        Where is the nearest?
    """,
    "second_of_pair": """
        What is the difference between a cat?
    """,
    "half_clause": """
        Do you know if the museum?
        Is it true that whales?
        Ask him if Peter
        I heard that Boston
        Tell him that my order.
    """,
    "dictation_open": """
        My phone number is 555.
        It's five five five.
        555-01
        My number is 2 1 2
        My number is 212-555.
        My card number is 4242 4242.
        My credit card number is four two four two
        My zip code is nine four
        My email is john.
        My email address is john dot smith.
        It's john.smith@
        john at gmail dot
        That's spelled S-M-I.
        My name is spelled J O H N.
        It's B-R-O-W-N.
        It's spelled J.
        My name is spelled SMI.
        I was born in March.
        My birthday is on April 3rd.
        The appointment is on December.
        My account number is 8 8 1.
        It's 5555.
        The last four digits are 90.
    """,
}

COMPLETE = {
    "short_answer": """
        Yes.
        Yeah.
        No
        No, thank you.
        Yes, please.
        Okay.
        That's right.
        That's all.
        I don't know.
        Hello!
        Thank you very much.
        Sounds good.
        Goodbye.
        Yes, I do.
        I'd like a coffee. That's it.
    """,
    "command": """
        Stop.
        Stop!
        Cancel that.
        Say that again.
        Go ahead.
        Never mind.
        Slow down.
        Start over.
    """,
    "dictation_done": """
        My phone number is 212-555-0142.
        It's 555 867 5309.
        five five five eight six seven five three zero nine
        My zip code is 94110.
        My zip code is 9 for 110.
        My phone number is 212 555 0 1 for 2.
        My pin is 1 2 3 4.
        My email is john.smith@example.com.
        It's john dot smith at gmail dot com.
        My name is Smith, S-M-I-T-H.
        Call me at 1-212-555-0142.
        The last four digits are 9026.
        The last 4 digits are 9 0 2 6.
        My card number is 4242 4242 4242 4242.
        My date of birth is April 9, 1971.
    """,
    "polite": """
        A table for two, please.
        I'd like a glass of water, please.
        That would be great, thanks.
    """,
    "question": """
        What is the capital of France?
        How many legs does a spider have?
        Who is it for?
        Who is that?
        Who told you that?
        How much is the small one?
        You're not human. Are you?
        It is cold today. Isn't it?
        Where are you from?
        Who wrote Romeo and Juliet?
        What is two plus two?
        Do you have anything cheaper?
        Can I pay by card?
        Who are they?
        Okay, and what does it cost?
        What are you looking for?
        Is it open on Sundays?
        Do you know where it is?
        And what about tomorrow evening?
        What can you tell me?
        Can you turn it off?
        How is your name spelled?
    """,
    "question_form": """
        How long does the flight take.
        Can you tell me the time.
        So what is the best way home.
        Do you have a room for tonight.
    """,
    "full_command": """
        Set a timer for ten minutes.
        Turn the lights on.
        Please play some quiet music.
        Tell me a joke about cats.
        Remind me to call my mother.
        Send an email to the office.
        Book a table for four people.
    """,
    "closing_word": """
        I have never seen it.
        I would like that one too.
        We have been there again.
        I don't want it anymore.
    """,
}

UNSURE = {
    "statement": """
        I'd like to book a table.
        I went to the office on Monday.
        My name is John.
        I'm calling about my order.
        There are four of us.
        Yes, it would.
        I know where it is.
        That's what I asked for.
        That's what I'm waiting for.
        We are number one.
        Unless you have something cheaper I'll take this one.
        It's hard to say.
        It costs 500 dollars.
        My flight leaves at 7 p.m.
        That's what I want.
        I have lived here for 20 years.
        Well, I went home, you know, and slept.
        Paris and London.
    """,
    "no_words": """
        ...
        ♪
    """,
    "drawn_out": """
        Yes...
        No,
        Okay-
    """,
    "half_clause_maybe": """
        What happens when the green lights?
    """,
    "bare_number": """
        Set a timer for 20.
        Remind me on the third.
    """,
    "destination": """
        Change my appointment from Monday.
        Convert ten miles.
    """,
    "misheard": """
        I'd like to book a table for it.
        Send a message to it.
        I want to leave a message for you.
        We would like a room with them.
        Remind me tomorrow, too.
    """,
    "reason": """
        Because my car broke down.
        Because I lost my wallet
    """,
    "hour": """
        Remind me to call my sister at six.
        The meeting was moved from 2 o'clock to 330.
        The appointment is on Friday at 1030.
        Wake me before 7
    """,
    "short_question": """
        Can you help me?
        Can you explain that?
        Do penguins fly?
        Do you ever sleep?
        Do you like music?
        Do fish drink water?
        Can parrots talk?
        Does gold rust?
        Did it snow?
        Will it hurt?
        Should I call back?
        Have you eaten?
        Are cats smart?
        Are you busy?
        Are they twins?
        Is it raining?
        Is water wet?
        Is that true?
        Is Pluto a planet?
        Is anybody there?
        Are the shops open?
        Is the pool heated?
        Does the bus stop?
        So, is coffee healthy?
    """,
    "open_question": """
        Can you explain?
        Can we talk?
        Could you sing?
        Should I call?
        Did you hear?
        Have you seen?
        Have you?
        Is the museum?
        Is the red wine?
        Is my phone number?
        Are your new shoes?
        Is this train?
        Is there a gym?
        My train was late. Have you?
        Do you have anything?
        Is there something?
        Is there a pharmacy?
    """,
    "dictation_maybe": """
        My phone number is 555-0142.
        five five five zero one four two
        My phone number is 44 20 7946 0958.
        The appointment is on the 3rd of March.
    """,
}

TABLE = [
    pytest.param(phrase, verdict, rule, id=f"{rule}: {phrase}")
    for verdict, table in (
        (TurnVerdict.INCOMPLETE, INCOMPLETE),
        (TurnVerdict.COMPLETE, COMPLETE),
        (TurnVerdict.UNSURE, UNSURE),
    )
    for rule, phrases in table.items()
    for phrase in map(str.strip, phrases.strip().splitlines())
]


@pytest.mark.parametrize(("phrase", "verdict", "rule"), TABLE)
def test_the_rule_that_decides(phrase: str, verdict: TurnVerdict, rule: str) -> None:
    assert completeness(phrase) == Completeness(verdict, rule)


def test_every_rule_has_phrases_and_the_table_is_large() -> None:
    assert {name for name, _, _ in RULES} - {"hesitant"} <= {rule.values[2] for rule in TABLE}
    assert len(TABLE) >= 150


def test_one_who_speaks_haltingly_is_given_more_time() -> None:
    assert completeness("Where can I park my car?", 1.0).verdict is TurnVerdict.COMPLETE
    assert completeness("Where can I park my car?", 7.0) == Completeness(
        TurnVerdict.UNSURE, "hesitant"
    )
    assert completeness("I'd like to book a table for", 9.0).rule == "preposition"


def test_only_the_last_sentence_counts() -> None:
    assert completeness("What time is it? I need a").verdict is TurnVerdict.INCOMPLETE
    assert completeness("I need a... No, thanks.").verdict is TurnVerdict.COMPLETE


@pytest.mark.parametrize("plain", ["It's", "I don't know", "john.smith@example.com"])
def test_typographic_quotes_and_capitals_change_nothing(plain: str) -> None:
    fancy = plain.replace("'", "’").upper()
    assert completeness(fancy) == completeness(plain)


@given(st.text())
def test_any_text_gets_a_verdict(words: str) -> None:
    found = completeness(words)
    assert isinstance(found.verdict, TurnVerdict)
    assert found == completeness(words)


SALAD = (
    *("ad", "i", "the", "five", "dot", "at", "gmail", "com", "@", "-", ",", ".", "?", "um", "yes"),
    *("...", "one-two", "A-B", "555", "if", "milk,", "for"),
)


@given(st.lists(st.sampled_from(SALAD), max_size=200).map(" ".join))
@settings(deadline=None)
def test_word_salad_takes_bounded_time(words: str) -> None:
    completeness(words)


@pytest.mark.parametrize("piece", ["a", "a.", "5-", "1 ", "a@", ",", ". ", "A-B ", "five-", "\n"])
def test_length_does_not_cost_time(piece: str) -> None:
    words = piece * (100_000 // len(piece))
    began = time.process_time()
    found = completeness(words)
    assert time.process_time() - began < 0.1
    assert found == completeness(words[-MAX_CHARACTERS:])


@pytest.mark.parametrize("noun", ["a good book", "my order", "the next show", "your last update"])
def test_a_thing_is_no_verb(noun: str) -> None:
    assert completeness(f"Could you tell me about {noun}?") == Completeness(
        TurnVerdict.COMPLETE, "question"
    )
    assert completeness(f"Could you please {noun.split()[-1]}").verdict is TurnVerdict.INCOMPLETE


@pytest.mark.parametrize("words", ["Ich hätte gern", "Yes.", "a table for", "Ja.", ""])
def test_words_of_another_language_are_not_judged(words: str) -> None:
    found = completeness(words, 9.0, "de")
    assert found == Completeness(TurnVerdict.UNSURE, "other_language")


@pytest.mark.parametrize(
    "words",
    [
        "What should I cook for dinner tonight?",
        "Can you tell me what time the sun goes down?",
    ],
)
def test_a_long_question_is_at_worst_unsure(words: str) -> None:
    assert completeness(words).verdict is TurnVerdict.UNSURE


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("And then I pressed the button, so.", TurnVerdict.INCOMPLETE),
        ("It was late so", TurnVerdict.INCOMPLETE),
        ("I think so.", TurnVerdict.COMPLETE),
        ("Why do you think so?", TurnVerdict.COMPLETE),
        ("What did you say the name was?", TurnVerdict.COMPLETE),
        ("How old do you think she is?", TurnVerdict.COMPLETE),
        ("What is?", TurnVerdict.INCOMPLETE),
        ("Who is it for?", TurnVerdict.COMPLETE),
    ],
)
def test_so_and_questions_about_a_saying(words: str, verdict: TurnVerdict) -> None:
    assert completeness(words).verdict is verdict


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("That's N-G-U. Why?", TurnVerdict.INCOMPLETE),
        ("It's spelled A, B. Are?", TurnVerdict.INCOMPLETE),
        ("My name is Joe. Why?", TurnVerdict.COMPLETE),
        ("My last name is Smith, S-N-I-T-H.", TurnVerdict.COMPLETE),
        ("My last name is Smith, S-N-I-D-H.", TurnVerdict.INCOMPLETE),
        ("My name is Jo, J-A.", TurnVerdict.INCOMPLETE),
        ("It's area code 312-555.", TurnVerdict.INCOMPLETE),
        ("It's area code 312-555-0176.", TurnVerdict.COMPLETE),
        ("The code is 312555.", TurnVerdict.COMPLETE),
        ("My phone number is 212. 555.", TurnVerdict.INCOMPLETE),
        ("My phone number is 212. 555. 0142.", TurnVerdict.COMPLETE),
        ("The code is 7-4. 9-9", TurnVerdict.UNSURE),
    ],
)
def test_letters_and_digits_as_they_are_misheard(words: str, verdict: TurnVerdict) -> None:
    assert completeness(words).verdict is verdict


@pytest.mark.parametrize(
    "words",
    [
        "I can't come, sorry.",
        "I don't think so, no.",
        "Are you coming, or no?",
        "Set a timer for ten minutes, no, twenty minutes.",
        "What do you think, actually?",
        "One more thing I need is milk.",
        "Could you also call Anna?",
        "I have a question about my bill.",
        "That was one thing.",
        "No, thanks.",
    ],
)
def test_words_that_neither_correct_nor_announce(words: str) -> None:
    assert completeness(words, 2.0).rule not in ("correction", "announcement")
