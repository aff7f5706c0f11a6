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
