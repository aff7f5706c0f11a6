"""Questions of the benchmarks: the bundled recordings, and more in the bundled voice."""

from __future__ import annotations

import re

import numpy as np

from agent.audio.samples import NOISE_FLOOR_DBFS, Samples, first_above, last_above, resample
from agent.config.settings import Settings
from agent.latency.question import SpokenQuestion, read_questions
from agent.protocol import WIRE_RATE
from agent.questions import bundled_questions
from agent.runtime.engines import load_tts, thread_plan
from tts.engine import Synthesizer

QUESTIONS = (
    "Can you help me?",
    "What day comes after Tuesday?",
    "How do you spell the word giraffe?",
    "Why is the sky blue?",
    "Is a tomato a fruit or a vegetable?",
    "Who was the first man on the moon?",
    "What should I cook for dinner tonight?",
    "How many minutes are there in an hour?",
    "Tell me something about whales.",
    "What is the largest ocean in the world?",
    "Do penguins fly?",
    "What do you call a baby dog?",
    "How far away is the moon?",
    "Could you recommend a good book?",
    "What is the opposite of early?",
    "Where does coffee come from?",
    "Good morning, how are you today?",
    "Which animal is the fastest on land?",
    "What color do you get from blue and yellow?",
    "I am bored. What can I do?",
    # Hesitations: {seconds} of silence within the sentence.
    "Can you tell me {0.4} what time the sun goes down?",
    "What is the difference between a frog and {0.8} a toad?",
    "I would like to know, um, {0.8} how long eggs have to boil.",
    "Is it true that {0.4} cats always land on their feet?",
    "My number is five five five {0.6} zero one seven. Can you repeat it?",
)
"""Questions for the bundled voice, asked after the bundled recordings."""
STORIES = ("Tell me a story about a dog.", "Tell me all that you know about Paris.")
"""Requests with a reply that is long enough to be interrupted."""
STOP = "No, stop. What is two plus three?"
"""Words of the interruption."""


def bundled() -> list[SpokenQuestion]:
    """Read the recordings that come with the package."""
    return read_questions(bundled_questions(), lambda note: None)


def spoken_questions(
    questions: int,
) -> tuple[list[SpokenQuestion], list[SpokenQuestion], SpokenQuestion]:
    """Prepare recordings in the bundled voice.

    Returns:
        The first ``questions`` questions, bundled recordings first; the requests for stories; the
        interruption.
    """
    defaults = Settings()
    voice = load_tts(defaults, thread_plan(defaults).tts, lambda _: None)
    try:
        asked = [*bundled(), *(spoken(voice, text) for text in QUESTIONS)][:questions]
        return asked, [spoken(voice, text) for text in STORIES], spoken(voice, STOP)
    finally:
        voice.close()


def spoken(voice: Synthesizer, text: str) -> SpokenQuestion:
    """Synthesize ``text``, with that much silence at each {seconds}."""
    parts = re.split(r"\{([\d.]+)\}", text)
    sound = [_trimmed(voice, parts[0].strip())]
    for pause, words in zip(parts[1::2], parts[2::2], strict=True):
        sound += [np.zeros(int(float(pause) * WIRE_RATE), np.float32), _trimmed(voice, words)]
    return SpokenQuestion(text, np.concatenate(sound))


def _trimmed(voice: Synthesizer, words: str) -> Samples:
    """Synthesize ``words`` and trim the silence around them."""
    spoken = np.concatenate([chunk.samples for chunk in voice.speak(words.strip())])
    sound = resample(spoken, voice.rate, WIRE_RATE)
    start, end = first_above(sound, NOISE_FLOOR_DBFS), last_above(sound, NOISE_FLOOR_DBFS)
    return sound[start or 0 : (end or 0) + 1]
