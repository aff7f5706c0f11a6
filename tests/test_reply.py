from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.model.tokenizer import Tokenizer


def byte_tokenizer() -> Tokenizer:
    """One token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, None, {})


WORDS = byte_tokenizer()


def released(text: str, *, complete: bool) -> tuple[list[str], str]:
    reply = ReplyDetokenizer(WORDS)
    pieces = [reply.push([i]) for i in WORDS.encode(text)]
    rest, ended = reply.finish(complete=complete)
    assert "".join(pieces) + rest == reply.text
    return [*pieces, rest], ended


def test_a_character_is_never_split() -> None:
    pieces, _ = released("é 🎈", complete=True)
    assert "�" not in "".join(pieces)
    assert [p for p in pieces if p] == ["é", " ", "🎈"]


def test_the_first_sentence_streams_and_later_ones_come_whole() -> None:
    pieces, ended = released("One two. Three four. Five", complete=True)
    assert [p for p in pieces if p] == [*"One two.", " Three four.", " Five"]
    assert ended == "eos"


def test_at_the_bound_an_unfinished_sentence_is_dropped() -> None:
    pieces, ended = released("It is 3.5 km. Then you", complete=False)
    assert "".join(pieces) == "It is 3.5 km."
    assert ended == "sentence"


def test_at_the_bound_a_sentence_that_just_ended_is_kept() -> None:
    pieces, ended = released("Yes. It is.", complete=False)
    assert "".join(pieces) == "Yes. It is."
    assert ended == "sentence"


def test_a_first_sentence_without_end_is_cut_anywhere() -> None:
    pieces, ended = released("and so on and", complete=False)
    assert "".join(pieces) == "and so on and"
    assert ended == "length"
