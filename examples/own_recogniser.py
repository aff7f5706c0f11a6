"""A recogniser of your own: it tells how long the caller spoke, and nothing else.

onebreath call question.wav --asr examples.own_recogniser:Stopwatch
onebreath serve --asr examples.own_recogniser:Stopwatch
"""

from asr import RATE, Samples, Transcript


class Stopwatch:
    """A `Transcriber`: loaded once, without arguments, shared by all calls."""

    def listen(self) -> "Utterance":
        return Utterance()

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def close(self) -> None:
        """Nothing to free."""


class Utterance:
    """A `Listening`: one utterance while it is spoken."""

    def __init__(self) -> None:
        self._count = 0

    def feed(self, samples: Samples) -> None:
        self._count += len(samples)  # 16 kHz float32; a real recogniser keeps them

    def hypothesis(self) -> Transcript:
        return Transcript(self._text(), stable=0, final=False)  # no word is settled yet

    def finish(self) -> Transcript:
        text = self._text()
        return Transcript(text, stable=len(text), final=True)

    def close(self) -> None:
        """Nothing to free."""

    def _text(self) -> str:
        return f"I spoke for {self._count / RATE:.0f} seconds."
