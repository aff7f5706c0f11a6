"""`onebreath say`: the spoken form of a text, its sound played or saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.console import ConfigOption, JsonOption, err, out, settings_from
from agent.cli.places import check_file
from agent.errors import AudioError, OnebreathError

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from tts.speakable import Speakable

PLAYERS = (
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("afplay",),
    ("ffplay", "-autoexit", "-nodisp", "-loglevel", "error"),
)
"""Programs that play a WAV file, with their options; the first that is installed is taken."""


def say(
    text: Annotated[str, typer.Argument(help="Text as a reply would have it.")],
    save: Annotated[
        Path | None, typer.Option("--out", help="WAV file to write instead of playing it.")
    ] = None,
    silent: Annotated[
        bool, typer.Option("--silent", help="Only print the spoken form; load no voice.")
    ] = False,
    lexicon: Annotated[
        Path | None, typer.Option(help="File of your own words; default tts.lexicon.")
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the text, such as en or de.")] = "en",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print how a text is spoken and play it, to try the voice and the lexicon."""
    from tts.speakable import speakable

    settings = settings_from(config, {"tts": {"lexicon": lexicon}})
    check_file(save)
    if not text.strip():
        raise OnebreathError("there is nothing to say; give a text")
    try:
        spoken = speakable(text, language, lexicon=settings.tts.words)
    except ValueError as error:
        raise OnebreathError(str(error)) from error
    if as_json:
        row = {"written": text, "spoken": spoken.text, "skipped": spoken.skipped}
        print(json.dumps(row, ensure_ascii=False))
    else:
        out.print(spoken.text, markup=False, highlight=False, soft_wrap=True)
    if spoken.skipped:
        err.print(f"{spoken.skipped} letters of other scripts are not spoken", style="yellow")
    if not silent and spoken.text:
        _sound(settings, spoken, save)


def _sound(settings: Settings, spoken: Speakable, save: Path | None) -> None:
    """Speak it; to the file, or to the first player that is installed."""
    player = _player() if save is None else ()
    with tempfile.TemporaryDirectory() as folder:
        path = save or Path(folder) / "say.wav"
        _write(settings, spoken, path)
        if save is not None:
            err.print(f"wrote {save}", highlight=False)
            return
        if subprocess.run([*player, str(path)], check=False).returncode:
            raise AudioError(f"{player[0]} cannot play here; save the sound with --out FILE")


def _player() -> tuple[str, ...]:
    for player in PLAYERS:
        if shutil.which(player[0]):
            return player
    names = ", ".join(player[0] for player in PLAYERS)
    raise AudioError(f"no player is installed ({names}); save the sound with --out FILE")


def _write(settings: Settings, spoken: Speakable, path: Path) -> None:
    """Write the voice's sound of a text of any length."""
    import numpy as np

    from agent.audio.samples import write_wav
    from agent.runtime.engines import load_tts, thread_plan

    with err.status("loading") as status:
        voice = load_tts(settings, thread_plan(settings).tts, status.update)
        try:
            status.update("speaking")
            pieces = [c.samples for part in _parts(spoken) for c in voice.speak(part)]
        finally:
            voice.close()
    if not pieces:
        raise AudioError("the voice made no sound of this text")
    write_wav(path, [np.concatenate(pieces)], voice.rate)


def _parts(spoken: Speakable) -> list[str]:
    """The spoken text in pieces that one ``speak`` takes."""
    from tts.engine import MAX_TEXT

    parts = [""]
    for word in spoken.words:
        if len(parts[-1]) + len(word) >= MAX_TEXT:
            parts.append("")
        parts[-1] = f"{parts[-1]} {word}".strip()
    return parts
