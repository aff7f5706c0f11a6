"""The worker process: fairness, cancellation, death and revival."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tts.engine import TtsError
from tts.process import WorkerProcess
from tts.remote import RemoteSynthesizer
from tts.tone import ToneSynthesizer

_LONG = " ".join(["word"] * 200)


@pytest.fixture
def remote() -> Iterator[RemoteSynthesizer]:
    synthesizer = RemoteSynthesizer("support.tone_worker")
    yield synthesizer
    synthesizer.close()


def spoken(synthesizer: RemoteSynthesizer, text: str) -> str:
    return " ".join(chunk.text for chunk in synthesizer.speak(text))


@pytest.mark.slow
def test_sound_and_words_come_through_unchanged(remote: RemoteSynthesizer) -> None:
    direct, piped = ToneSynthesizer().speak("one two"), remote.speak("one two")
    for here, there in zip(direct, piped, strict=True):
        assert (here.samples == there.samples).all()
        assert here.words == there.words
        assert here.rate == there.rate


@pytest.mark.slow
def test_a_short_text_does_not_wait_for_a_long_one(remote: RemoteSynthesizer) -> None:
    long = remote.speak(_LONG)
    next(long)
    assert spoken(remote, "short") == "short"
    assert len(list(long)) == 199


@pytest.mark.slow
def test_many_callers_at_once_do_not_mix(remote: RemoteSynthesizer) -> None:
    texts = [" ".join(f"caller{caller}word{word}" for word in range(20)) for caller in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: spoken(remote, text), texts)) == texts


@pytest.mark.slow
def test_closing_the_generator_cancels_and_frees_the_slot() -> None:
    remote = RemoteSynthesizer("support.tone_worker", max_requests=1)
    try:
        first = remote.speak(_LONG)
        next(first)
        with pytest.raises(TtsError, match="too many replies"):
            next(remote.speak("second"))
        first.close()
        assert spoken(remote, "third") == "third"
    finally:
        remote.close()


@pytest.mark.slow
def test_a_closed_generator_reaches_the_voice(remote: RemoteSynthesizer) -> None:
    running = remote.speak(_LONG)
    next(running)
    running.close()
    with pytest.raises(TtsError, match="gave up word\na segment fault, say"):
        spoken(remote, "crash")


@pytest.mark.slow
def test_a_failed_request_leaves_the_others_alone(remote: RemoteSynthesizer) -> None:
    other = remote.speak(_LONG)
    next(other)
    with pytest.raises(TtsError, match="ValueError: this word is refused"):
        spoken(remote, "please refuse")
    assert len(list(other)) == 199


@pytest.mark.slow
def test_death_ends_the_running_requests_with_its_last_words(remote: RemoteSynthesizer) -> None:
    other = remote.speak(_LONG)
    next(other)
    with pytest.raises(TtsError, match=r"exit code 3: a segment fault, say"):
        spoken(remote, "now crash")
    with pytest.raises(TtsError, match="exit code 3"):
        list(other)


@pytest.mark.slow
def test_the_next_request_gets_a_new_worker(remote: RemoteSynthesizer) -> None:
    before = remote.pid
    running = remote.speak(_LONG)
    next(running)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(TtsError, match="exit code -9"):
        list(running)
    assert spoken(remote, "again") == "again"
    assert remote.pid != before
    assert not psutil.pid_exists(before), "no zombie"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signals_to_the_whole_group_leave_the_worker_running(
    remote: RemoteSynthesizer, name: str
) -> None:
    """A server that drains speaks on, though its supervisor signals every process of it."""
    before = remote.pid
    os.kill(before, getattr(signal, name))
    assert spoken(remote, "still here") == "still here"
    assert remote.pid == before


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_always_comes_back() -> None:
    """It was given up after the third death in a row, for ever."""
    remote = RemoteSynthesizer("support.tone_worker", first_pause=0.02, revival_seconds=30.0)
    try:
        for _ in range(6):
            with pytest.raises(TtsError, match="exit code 3"):
                spoken(remote, "crash")
        assert spoken(remote, "fine") == "fine"
        assert remote.restarts == 6
    finally:
        remote.close()


@pytest.mark.slow
def test_starts_in_a_row_wait_longer_and_a_success_forgets_it(remote: RemoteSynthesizer) -> None:
    with pytest.raises(TtsError, match="exit code 3"):
        spoken(remote, "crash")
    assert spoken(remote, "again") == "again"  # the first start is at once
    remote._first_pause = 30.0
    remote._revival_seconds = 0.05
    with pytest.raises(TtsError, match="exit code 3"):
        spoken(remote, "crash")
    remote._revival_seconds = 30.0
    assert spoken(remote, "again") == "again"
    for _ in range(2):  # the second in a row waits
        remote._revival_seconds = 30.0
        with pytest.raises(TtsError, match="exit code 3"):
            spoken(remote, "crash")
    assert not remote.ready
    remote._revival_seconds = 0.05
    with pytest.raises(TtsError, match="it is being started again"):
        spoken(remote, "late")


@pytest.mark.slow
def test_a_start_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = RemoteSynthesizer("support.tone_worker", first_pause=0.02, revival_seconds=30.0)
    try:
        start, failures = remote._start, iter([OSError("no memory"), TtsError("not ready")])

        def fails() -> WorkerProcess:
            for failure in failures:
                raise failure
            return start()

        monkeypatch.setattr(remote, "_start", fails)
        os.kill(remote.pid, signal.SIGKILL)
        remote._worker.dead.wait()
        assert spoken(remote, "fine") == "fine"
    finally:
        remote.close()


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended() -> None:
    remote = RemoteSynthesizer("support.tone_worker", stall_seconds=0.2)
    try:
        with pytest.raises(TtsError, match=r"no sound for 0\.2 s"):
            spoken(remote, "hang")
    finally:
        remote.close()


@pytest.mark.slow
def test_garbage_on_the_pipe_is_an_error(remote: RemoteSynthesizer) -> None:
    with pytest.raises(TtsError, match="out of bounds"):
        spoken(remote, "some garbage")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--fatal", "the voice is hoarse"),
        ("--dead", "exit code 1: no voice today"),
        ("--mute", r"not ready after 0\.3 s"),
    ],
)
def test_a_failed_start_says_why(option: str, reason: str) -> None:
    seconds = 0.3 if option == "--mute" else 30.0
    with pytest.raises(TtsError, match=reason):
        RemoteSynthesizer("support.tone_worker", [option], start_seconds=seconds)


@pytest.mark.slow
def test_close_ends_the_process_and_the_running_requests() -> None:
    remote = RemoteSynthesizer("support.tone_worker")
    running = remote.speak(_LONG)
    next(running)
    remote.close()
    remote.close()
    assert not psutil.pid_exists(remote.pid)
    with pytest.raises(TtsError, match="closed"):
        list(running)
    with pytest.raises(TtsError, match="closed"):
        spoken(remote, "late")


@pytest.mark.slow
def test_the_worker_does_not_outlive_its_parent() -> None:
    program = """
        import os
        from tts.remote import RemoteSynthesizer
        remote = RemoteSynthesizer("support.tone_worker")
        print(remote.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        worker = psutil.Process(int(parent.stdout))
        worker.wait(timeout=10)
    except psutil.NoSuchProcess:
        return
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
