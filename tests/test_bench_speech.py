"""The bench of speech: values of spoken numbers, the lines it takes, its table and its commands."""

from __future__ import annotations

import json

import pytest

from agent.bench.speech import Heard, chosen, table, values, wrong_lines
from agent.bench.spoken_forms import SpokenForm, read_forms
from agent.cli import main


@pytest.mark.parametrize(
    ("said", "digits"),
    [
        ("five five five, zero one four two", "5550142"),
        ("twenty-four", "24"),
        ("one thousand two hundred and thirty-four", "1234"),
        ("two million and five", "2000005"),
        ("twenty twenty-four", "2024"),
        ("five dollars and fifty cents", "550"),
        ("three oh five", "305"),
        ("the twenty-first of May", "21"),
        ("one hundred", "100"),
        ("one hundredth", "100"),
        ("eleven twelfths", "1112"),
        ("two thirds", "23"),
        ("ten twenty", "1020"),
        ("two hundred three hundred", "200300"),
        ("no number", ""),
    ],
)
def test_the_digits_of_spoken_numbers(said: str, digits: str) -> None:
    assert values(said) == digits


def test_a_line_is_heard_right_by_its_digits_however_they_are_written() -> None:
    form = SpokenForm("money", "$5.50", "five dollars and fifty cents")
    assert Heard(form, "five dollars and fifty cents", "It's $5.50.").right
    assert Heard(form, "five dollars and fifty cents", "five fifty").right
    assert not Heard(form, "five dollars and fifty cents", "$5.15").right


@pytest.mark.slow
def test_lines_are_taken_from_all_classes() -> None:
    lines = chosen(read_forms(), 100)
    assert len(lines) == len(set(lines)) == 100
    assert len({line.kind for line in lines}) >= 25
    assert lines == chosen(read_forms(), 100)


def test_the_table_counts_by_class() -> None:
    forms = [SpokenForm("a", "5", "five"), SpokenForm("a", "6", "seven"), SpokenForm("b", "x", "x")]
    heard = [Heard(forms[0], "five", "5"), Heard(forms[0], "five", "9", "5")]
    rows = list(table(forms, heard))
    assert [(row["class"], row["lines"], row["right %"]) for row in rows] == [
        ("a", 2, 50.0),
        ("b", 1, 100.0),
        ("all", 3, 66.7),
    ]
    assert rows[0]["heard right %"] == 50.0
    assert rows[1]["heard right %"] == ""
    assert rows[0]["in two takes %"] == 100.0
    assert list(wrong_lines(forms, heard)) == [
        "a: '6' is said 'six'",
        "a: 'five' is heard '9' and '5'",
    ]


def run(monkeypatch, capfd, *words):
    monkeypatch.setattr("sys.argv", ["onebreath", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    printed = capfd.readouterr()
    return ended.value.code or 0, printed.out, printed.err


@pytest.mark.slow
def test_the_command_prints_a_row_for_each_class(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capfd, "bench", "speech", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert rows[-1]["class"] == "all"
    assert rows[-1]["right %"] >= 99
    (tmp_path / "own.txt").write_text("[x]\n5 => six\n")
    code, out, err = run(
        monkeypatch, capfd, "bench", "speech", "--table", "own.txt", "--wrong", "--json"
    )
    assert json.loads(out.splitlines()[-1])["right %"] == 0
    assert "'5' is said 'five'" in err


def test_say_prints_and_saves(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "onebreath.toml").write_text('[tts]\nengine = "tone"\nlexicon = "words.toml"\n')
    (tmp_path / "words.toml").write_text('"nginx" = "engine x"\n')
    code, out, err = run(monkeypatch, capfd, "say", "Pay $5 to nginx.", "--out", "say.wav")
    assert (code, out) == (0, "Pay five dollars to engine x.\n")
    assert (tmp_path / "say.wav").stat().st_size > 10_000
    assert "wrote say.wav" in err


@pytest.mark.slow
def test_say_tells_what_it_skips_and_what_it_cannot_do(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, out, err = run(monkeypatch, capfd, "say", "Hi 東京", "--silent", "--json")
    assert json.loads(out) == {"written": "Hi 東京", "spoken": "Hi", "skipped": 2}
    assert "2 letters of other scripts" in err
    monkeypatch.setattr("shutil.which", lambda _: None)
    code, _, err = run(monkeypatch, capfd, "say", "Hi")
    assert code == 2
    assert "no player is installed" in err
    code, _, err = run(monkeypatch, capfd, "say", "Hi", "--language", "xx-bad!")
    assert code == 2
    assert "unknown language" in err
    code, _, err = run(monkeypatch, capfd, "say", "Hi", "--out", "none/x.wav")
    assert code == 2
    assert "directory that exists" in err
