"""Stand-ins for files that speech-to-speech downloads from hosts besides the package index.

The Silero network is the one that the package `silero-vad` carries. The sentence splitter is
Punkt without its learned abbreviations, which the replies here do not need.
"""

from __future__ import annotations

from pathlib import Path

_HUBCONF = """import torch


def silero_vad(**options):
    return torch.jit.load({path!r}), ()
"""
_PUNKT_FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")


def place(cache: Path, packages: Path) -> dict[str, str]:
    """Write them; returns the environment variables that point there."""
    hub = cache / "torch" / "hub" / "snakers4_silero-vad_master"
    hub.mkdir(parents=True, exist_ok=True)
    network = packages / "silero_vad" / "data" / "silero_vad.jit"
    (hub / "hubconf.py").write_text(_HUBCONF.format(path=str(network)))
    punkt = cache / "nltk" / "tokenizers" / "punkt_tab" / "english"
    punkt.mkdir(parents=True, exist_ok=True)
    for name in _PUNKT_FILES:
        (punkt / name).touch()
    (cache / "nltk" / "taggers" / "averaged_perceptron_tagger_eng").mkdir(
        parents=True, exist_ok=True
    )
    return {"TORCH_HOME": str(cache / "torch"), "NLTK_DATA": str(cache / "nltk")}
