"""Words about the floor: wishes for silence, calls for attention, and words that are neither."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.turn_taking.floor import FloorRequest, floor_request, silences

STOP = """
    Never mind, it's fine.
    Never mind, I'll do it myself.
    I've heard enough.
    Quit talking.
    Let's leave it there.
    Stop explaining.
    Stop telling me that.
    Please don't go on.
    Stop, I get it.
    Okay, I get it, stop.
    Stop for ten minutes.
    Stop.
    Okay okay stop.
    Assistant, stop.
    Could you be quiet for a second?
    Can you stop talking for a moment?
    I told you to stop.
    Let's stop here.
    It doesn't matter.
    Scratch that.
    Ssh.
    S H H
    Shut your mouth.
    Never mind, forget it.
    Be quiet.
    Never mind.
    Shut up!
    That's enough.
    Stop, stop, stop.
    Okay, stop.
    Please stop talking.
    Can you please be quiet?
    No, no, stop.
    Could you stop?
    Okay, that's enough, thank you.
    Quiet please.
    Shh.
    Enough.
    Nevermind.
    Forget it.
    Oh, never mind.
    stop it
    Would you shut up?
    Will you please stop talking?
    Would you mind stopping?
    Hush.
    You can stop now.
    Hey, stop!
    Excuse me, stop.
    Stop please.
    Stop for a moment.
    Stop for a second.
    Be quiet for a minute.
    Stop right there.
    That will do.
    That'll do.
    Never mind, thanks.
"""
WAIT = """
    I am still thinking.
    Can I finish?
    Pause for a second.
    Hmm, let me think.
    Give me five minutes.
    Wait ten seconds.
    Hold on while I get a pen.
    Wait until I'm done.
    Hang on, I'm thinking.
    Um.
    Hold the line, please.
    Hang on a minute.
    One sec.
    Computer, wait.
    Let me just check.
    Let me get my glasses.
    Let me grab a pen.
    Excuse me for a second.
    Would you mind waiting?
    I'll be with you in a second.
    Uh...
    Er, um.
    Uhm
    Hmm.
    Ah.
    So, um...
    Well, uh.
    Um, um, uh.
    Hold on.
    Give me a second.
    Wait.
    One moment.
    Let me think.
    Hang on.
    Just a second.
    Hold on a second, please.
    Wait a minute.
    Wait, wait.
    Hold that thought.
    I need a moment.
    Let me think about it for a second.
    Give me a minute to think.
    Not now.
    Pause.
    One second please
    Just one moment.
    Bear with me.
    I'm not done yet.
    Let me finish.
    Hang on a sec.
    Wait up.
    Hold it.
    Just wait.
    Please wait.
    Please hold.
    Hold please.
    Give me a sec.
    Just give me a moment please.
    Okay wait.
    Okay hold on.
    No wait.
    Give me some time.
    I have to think.
    Let me think for a moment.
"""
ATTENTION = """
    Hello, can you hear me?
    Hello? Are you still there?
    Can anybody hear me?
    Did you catch that?
    Are we still connected?
    Is this still on?
    Hello?
    Are you there?
    Can you hear me?
    Hello? Hello?
    Are you still there?
    Is anybody there?
    Hey!
    Did you hear me?
    Hello, are you there?
    Anyone there?
    You there?
    Are you listening?
    Can you still hear me?
    Hello, can you hear me?
    Is anyone there?
    Hi?
    Do you hear me?
    Still there?
    Is this working?
    Did you get that?
    Are you even listening to me?
"""
NONE = """
    Don't stop there.
    Please don't stop.
    Stop by the shop.
    Where does the bus stop?
    Stop smoking.
    Stop telling me about cats, tell me about dogs.
    I get it.
    I see, go on.
    That's fine.
    It's fine.
    What are the wait times at the clinic?
    Wait until Monday.
    Wait while it rains.
    Hold on to the railing.
    Give me five minutes of music.
    Pause the music for a second.
    Leave it open.
    I have heard enough about cats, tell me about dogs.
    Can I finish my coffee?
    Can I think about it?
    Five minutes.
    Don't wait for me.
    That's not enough.
    Is it enough?
    I'll do it myself.
    No no no.
    Start talking.
    Hold the onions.
    Let me find a hotel.
    Let me check my balance.
    Hello, what time is it?
    Excuse me, what time is it?
    Mm-hmm.
    Mhm.
    Uh-huh.
    Yes, um.
    Um, yes.
    Um, what time is it?
    Ah, I see.
    Oh.
    Hm, Boston.
    Stop the timer.
    Wait, I mean Boston.
    Never mind, what time is it?
    Hold on to the rope.
    Tell me to stop.
    What does stop mean?
    Give me a second story.
    Give me a recipe.
    Let me think about Paris.
    Are you there on Monday?
    Can you hear the music?
    Hello, I'd like a coffee.
    One moment in time.
    Wait for the bus.
    Is anyone there tomorrow?
    Okay.
    Yes please.
    Thank you.
    No.
    Sorry.
    Right now.
    I need a minute hand.
    Enough about cats, tell me about dogs.
    Be quiet and tell me.
    Please.
    Well, so.
    Can you?
    Is there a second?
    Forget about Monday, make it Tuesday.
    Stop playing music.
    Cancel my order.
    A few minutes.
    Ten minutes.
    How long do I wait?
    That's all.
    Cancel.
    Not yet.
    No more.
    Stop at the next light.
    Quiet streets in Boston
    Let me see the menu.
    Wait, actually I want tea.
    Hello Kitty.
    Can you hear me out about Boston?
"""
LINES = [
    pytest.param(words, wish, id=f"{wish.name}: {words}")
    for wish, table in (
        (FloorRequest.STOP, STOP),
        (FloorRequest.WAIT, WAIT),
        (FloorRequest.ATTENTION, ATTENTION),
        (FloorRequest.NONE, NONE),
    )
    for words in map(str.strip, table.strip().splitlines())
]


@pytest.mark.parametrize(("words", "wish"), LINES)
def test_the_wish_of_words(words: str, wish: FloorRequest) -> None:
    assert floor_request(words) is wish
    assert floor_request(words.upper().replace("'", "’")) is wish


@pytest.mark.parametrize(
    "words",
    ["No, no, no.", "No no.", "No, stop.", "Start talking.", "Start, start.", "Up.", "One set."],
)
def test_words_that_ask_for_silence_over_a_statement(words: str) -> None:
    assert silences(words)


@pytest.mark.parametrize(
    "words", ["No.", "No thanks.", "Start the car.", "Up to you.", "One set of keys.", "Yes.", ""]
)
def test_words_that_ask_for_something_over_a_statement_too(words: str) -> None:
    assert not silences(words)


@given(st.text())
def test_any_text_gets_an_answer(words: str) -> None:
    assert isinstance(floor_request(words), FloorRequest)


SALAD = (
    "no",
    "start",
    "stop",
    "wait",
    "a",
    "second",
    "just",
    "me",
    "okay",
    "please",
    "for",
    "hello",
    "are",
    "x",
)


@given(st.lists(st.sampled_from(SALAD), max_size=60).map(" ".join))
@settings(deadline=None)
def test_word_salad_takes_bounded_time(words: str) -> None:
    began = time.process_time()
    floor_request(words)
    silences(words)
    assert time.process_time() - began < 0.1
