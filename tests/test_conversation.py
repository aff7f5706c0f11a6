import pytest

from agent.reply import Message
from agent.session.conversation import MAX_TURNS, AgentReply, Conversation, Turn


def turn(number, transcript, said="", heard="", interrupted=False):
    reply = AgentReply(f"r{number}", said, heard, interrupted) if said else None
    return Turn(number, f"t{number}", transcript=transcript, reply=reply)


def prompt(*turns, room=3000):
    return [(m.role, m.content) for m in Conversation("Be kind.", room, list(turns)).messages()]


def test_turns_become_messages():
    assert prompt(turn(1, "hello", "Hi there."), turn(2, "how are you")) == [
        ("system", "Be kind."),
        ("user", "hello"),
        ("assistant", "Hi there."),
        ("user", "how are you"),
    ]


def test_of_an_interrupted_reply_only_what_was_heard_is_remembered():
    cut = turn(1, "tell me a story", "Once upon a time there was a fox.", "Once upon a", True)
    assert prompt(cut, turn(2, "stop"))[2] == ("assistant", "Once upon a")


def test_a_reply_that_nobody_heard_joins_the_words_around_it():
    cut = turn(1, "what is the capital", "Which capital?", "", True)
    assert prompt(cut, turn(2, "of France")) == [
        ("system", "Be kind."),
        ("user", "what is the capital of France"),
    ]


def test_turns_without_words_leave_no_trace():
    assert prompt(turn(1, ""), turn(2, "yes")) == [("system", "Be kind."), ("user", "yes")]


def test_the_oldest_turns_go_first_and_whole():
    turns = [turn(n, "x" * 40, "y" * 40) for n in range(1, 6)]
    messages = prompt(*turns, turn(6, "now"), room=200)
    assert len(messages) == 1 + 2 * 2 + 1
    assert messages[0] == ("system", "Be kind.")
    assert messages[-1] == ("user", "now")


def test_of_words_that_are_too_long_the_newest_stay():
    assert prompt(turn(1, "a" * 300 + "z" * 200), room=200)[-1] == ("user", "z" * 200)


def test_words_whose_reply_failed_do_not_come_back():
    failed = turn(1, "x" * 50, "never said", "", True)
    failed.reply.failed = True
    assert prompt(failed, turn(2, "hello")) == [("system", "Be kind."), ("user", "hello")]


def test_only_so_many_turns_are_remembered():
    conversation = Conversation("", 3000)
    for number in range(MAX_TURNS + 5):
        conversation.add(turn(number, "hi"))
    assert len(conversation.turns) == MAX_TURNS
    assert not conversation.has("t4")
    assert conversation.has("t5")


def test_replies_are_found_by_their_item():
    conversation = Conversation("", 100, [turn(1, "a", "b"), turn(2, "c", "d")])
    assert conversation.reply_of("r1").text == "b"
    assert conversation.reply_of("t1") is None
    assert Message("user", "x").role == "user"


SUM = "The answer to this problem is 10."


def test_one_reply_to_different_questions_leaves_the_prompt_with_them():
    turns = [
        turn(1, "what is two plus two", SUM),
        turn(2, "why is the sky blue", SUM.upper()),
        turn(3, "what is two plus two", SUM),
    ]
    assert prompt(turn(0, "hello", "Hi."), *turns, turn(4, "do penguins fly")) == [
        ("system", "Be kind."),
        ("user", "hello"),
        ("assistant", "Hi."),
        ("user", "do penguins fly"),
    ]


@pytest.mark.parametrize(
    "asked", ["Can you say that again?", "Sorry?", "Wie bitte, noch einmal?", "Repeat it, please."]
)
def test_a_reply_that_was_asked_for_once_more_stays(asked):
    messages = prompt(turn(1, "what is it", SUM), turn(2, asked, SUM), turn(3, "and then"))
    assert [words for _, words in messages].count(SUM) == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("What is two plus two", SUM),  # the same question
        ("why", "Yes, it is so."),  # short: fits many questions
        ("why is the sky blue", "The answer to this problem is 4."),
    ],
)
def test_other_replies_stay(asked, said):
    first = turn(1, "what is two plus two", SUM if len(said) > 20 else said)
    assert ("assistant", said) in prompt(first, turn(2, asked, said), turn(3, "and then"))[3:]


def test_what_the_client_put_there_stays_however_often_it_says_the_same():
    shots = [turn(n, f"review {n}", "The sentiment of this is positive.") for n in (1, 2, 3)]
    for shot in shots:
        shot.reply.given = True
    assert len(prompt(*shots, turn(4, "review 4"))) == 1 + 3 * 2 + 1


def test_a_repetition_behind_words_without_a_reply_stays_with_them():
    """Else these words would be asked again with the next question."""
    turns = [turn(1, "one", SUM), turn(2, "two"), turn(3, "three", SUM), turn(4, "four")]
    assert ("user", "two three") in prompt(*turns)
    assert ("user", "one") not in prompt(*turns)
