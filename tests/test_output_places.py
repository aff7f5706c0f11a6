"""Places of results are checked before the work."""

import os
import stat

import pytest
from typer.testing import CliRunner

from agent.cli.main import app
from agent.cli.places import check_file
from agent.errors import ConfigError


def test_a_file_that_can_be_written_is_left_as_it_was(tmp_path):
    check_file(None)
    check_file(tmp_path / "new.wav")
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / "old.wav"
    old.write_bytes(b"sound")
    check_file(old)
    assert old.read_bytes() == b"sound"


@pytest.mark.parametrize("name", ["", "missing/rows.jsonl", "file.wav/rows.jsonl"])
def test_a_place_that_is_none_is_refused(tmp_path, name):
    (tmp_path / "file.wav").touch()
    with pytest.raises(ConfigError, match="name a file in a directory that exists"):
        check_file(tmp_path / name)


def test_what_the_system_refuses_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: File name too long"):
        check_file(tmp_path / ("x" * 300))
    folder = tmp_path / "locked"
    folder.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid():  # root may write everywhere
        with pytest.raises(ConfigError, match="Permission denied"):
            check_file(folder / "call.wav")


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    check_file(tmp_path / "pipe")


@pytest.mark.parametrize(
    "command",
    [
        ["say", "Hello.", "--out"],
        ["call", "agent/questions/two_plus_two.wav", "--out"],
        ["bench", "network", "--rows"],
        ["bench", "panel", "--rows"],
        ["bench", "turns", "--rows"],
        ["adapt", "plot", "run", "--out"],
    ],
)
def test_no_command_works_for_a_file_that_it_cannot_write(tmp_path, command):
    result = CliRunner().invoke(app, [*command, str(tmp_path / ("x" * 300))])
    assert result.exit_code
    assert isinstance(result.exception, ConfigError | SystemExit), result.exception
    assert "cannot be written" in f"{result.exception}{result.output}"
