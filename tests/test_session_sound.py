"""A session with its sound: recorded when asked for, downloaded, opened, played in time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from test_page import CONTROLLER, FRANCE, browser, playwright, typed, visiting

__all__ = ["browser", "playwright"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOUDNESS = """async ({format, data}) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const context = new OfflineAudioContext(1, 1, 48000);
  const sound = (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
  return {seconds: sound.length / 48000, peak: sound.reduce((a, b) => Math.max(a, Math.abs(b)), 0)};
}"""
SOUND = f"{CONTROLLER}.replay.sound"
ELEMENT = f"{SOUND}.current.element"
PLAYS = f"({CONTROLLER}.replay?.sound?.time ?? null) !== null"


def until(page: Page, condition: str) -> None:
    """Wait for a condition; `wait_for_function` would need eval, which the policy forbids."""
    page.evaluate(
        f"""() => new Promise((done, failed) => {{
          setTimeout(() => failed(new Error(`never: {condition}`)), 20000);
          const look = () => ({condition}) ? done() : requestAnimationFrame(look);
          look();
        }})"""
    )


def ask_for_sound(page: Page) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Record the sound of calls").check()
    page.get_by_role("button", name="Done").click()


def downloaded(page: Page, path: Path) -> list[dict]:
    page.get_by_role("tab", name="Events").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def sounds(entries: list[dict]) -> list[dict]:
    return [e for e in entries if e["event"]["type"] == "page.sound.recorded"]


@pytest.mark.parametrize("transport", ["webrtc", pytest.param("websocket", marks=pytest.mark.long)])
def test_a_session_keeps_the_sound_of_its_calls(browser: Browser, tmp_path, transport):
    with visiting(browser, [], f"?transport={transport}") as visit:
        page, path = visit.page, tmp_path / "session.jsonl"
        ask_for_sound(page)
        typed(visit, FRANCE)
        during = sounds(downloaded(page, path))  # a call that is still up
        assert len(during) == 1
        page.get_by_role("button", name="End the call").click()
        typed(visit, FRANCE)  # goes on: a second call
        page.get_by_role("button", name="End the call").click()
        entries = downloaded(page, path)
        assert len(sounds(entries)) == 2
        assert [e["t"] for e in entries] == sorted(e["t"] for e in entries)
        for entry in sounds(entries):
            heard = page.evaluate(LOUDNESS, entry["event"])
            assert heard["seconds"] > 0.5
            assert heard["peak"] > 0.05  # the tones of the reply
        # A call may be over before its hang-up arrives, which then finds none.
        assert [text for text in visit.complaints if "404" not in text] == []

        page.locator("input[type=file]").set_input_files(path)
        until(page, PLAYS)
        bar = page.get_by_role("group", name="Recorded session")
        expect(bar.get_by_role("button", name="Turn the sound off")).to_be_visible()
        again = downloaded(page, tmp_path / "again.jsonl")
        assert sounds(again) == sounds(entries)


def test_without_the_wish_no_sound_is_kept(browser: Browser, tmp_path):
    with visiting(browser, []) as visit:
        typed(visit, FRANCE)
        assert sounds(downloaded(visit.page, tmp_path / "session.jsonl")) == []


def test_the_sound_follows_pause_speed_and_exit(browser: Browser, tmp_path):
    with visiting(browser, [], "?transport=websocket") as visit:
        page, path = visit.page, tmp_path / "session.jsonl"
        ask_for_sound(page)
        typed(visit, FRANCE, "And of Spain?", "And of Italy?")
        page.get_by_role("button", name="End the call").click()
        downloaded(page, path)
        page.locator("input[type=file]").set_input_files(path)
        until(page, PLAYS)
        bar = page.get_by_role("group", name="Recorded session")

        bar.get_by_role("button", name="Pause", exact=True).click()
        assert page.evaluate(f"{ELEMENT}.paused")
        place = page.evaluate(f"{ELEMENT}.currentTime")
        bar.get_by_label("Speed").select_option("0.5")
        bar.get_by_role("button", name="Play", exact=True).click()
        until(page, f"{PLAYS} && {ELEMENT}.currentTime > {place}")
        assert page.evaluate(f"{ELEMENT}.playbackRate") == 0.5
        # What is shown is what is heard: no entry is ahead of the sound by more than a frame or so.
        ahead = page.evaluate(
            f"{CONTROLLER}.replay.entries[{CONTROLLER}.replay.shown - 1].t - {SOUND}.time"
        )
        assert ahead < 100

        bar.get_by_role("button", name="Turn the sound off").click()
        assert page.evaluate(f"{ELEMENT}.muted")
        bar.get_by_role("button", name="Turn the sound on").click()
        assert not page.evaluate(f"{ELEMENT}.muted")

        bar.get_by_role("button", name="To the end").click()
        assert page.evaluate(f"{ELEMENT}.paused")
        bar.get_by_role("button", name="Play again").click()
        until(page, f"{PLAYS} && {SOUND}.time < 3000")
        page.evaluate(f"globalThis.played = {ELEMENT}")
        bar.get_by_role("button", name="Leave the recording").click()
        expect(bar).to_be_hidden()
        assert page.evaluate("played.paused")
        assert visit.complaints == []


def test_a_page_that_may_not_sound_plays_silently_until_it_is_asked(browser: Browser, tmp_path):
    """Browsers let a page that nobody has clicked play without sound only."""
    refusal = """
      addEventListener("pointerdown", () => (globalThis.clicked = true), true);
      const play = HTMLMediaElement.prototype.play;
      HTMLMediaElement.prototype.play = function () {
        if (this.muted || globalThis.clicked) return play.call(this);
        return Promise.reject(new DOMException("no click yet", "NotAllowedError"));
      };"""
    with visiting(browser, [], "?transport=websocket") as visit:
        page, path = visit.page, tmp_path / "session.jsonl"
        ask_for_sound(page)
        typed(visit, FRANCE, "And of Spain?", "And of Italy?")
        downloaded(page, path)
        page.add_init_script(refusal)
        page.route("**/mine.jsonl", lambda route: route.fulfill(body=path.read_text(), status=200))
        page.goto(f"{visit.url}/?replay=mine.jsonl")
        on = page.get_by_role("button", name="Turn the sound on")
        expect(on).to_be_visible()
        until(page, PLAYS)
        on.click()
        expect(page.get_by_role("button", name="Turn the sound off")).to_be_visible()
        assert not page.evaluate(f"{ELEMENT}.muted")
