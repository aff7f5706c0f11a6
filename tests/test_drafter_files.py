"""Drafters on disk, their base, their calibration and the trees that are grown from them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.drafters import SHAPE, base_config, drawn_network, save_drafter
from support.tiny import tiny_model
from test_packed_transformer import packed_model

from dllm_core.draft import bundled, files
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.config import DrafterConfig, fingerprint
from dllm_core.draft.drafter import Drafter
from dllm_core.draft.proposal import Candidate
from dllm_core.draft.tree import Tree, grow
from dllm_core.errors import DrafterError
from dllm_core.model.quantize import Int4Linear, Int8Linear

CONTEXT = SHAPE["context_length"]
BASE = tiny_model(base_config())


def test_weights_come_back_as_they_were_rounded(tmp_path: Path) -> None:
    network = drawn_network(BASE)
    files.save(network, Calibration((1.5,) * 4, (0.1,) * 4), tmp_path / "one", {})
    once = files.read(tmp_path / "one")
    again = once.network(BASE.embedding)
    for (name, mine), theirs in zip(
        network.state_dict().items(), again.state_dict().values(), strict=True
    ):
        error = (mine.float() - theirs.float()).abs().max()
        assert error <= mine.float().abs().max() / 200, name
    assert once.calibration.slopes == (1.5,) * 4
    files.save(again, once.calibration, tmp_path / "two", {})
    one, two = ((tmp_path / name / files.WEIGHTS).read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("packed", [False, True])
def test_the_working_drafter_drafts_what_the_plain_network_does(
    tmp_path: Path, packed: bool
) -> None:
    base = packed_model(base_config(), Int8Linear, CONTEXT) if packed else BASE
    drafter = Drafter.load(save_drafter(base, tmp_path), base, CONTEXT)
    network = files.read(tmp_path).network(base.embedding)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, drafter.parts.width, generator=generator)
    cache = drafter.new_cache()
    for start, stop in ((0, 11), (11, 12), (12, 50)):
        drafter.extend(cache, features[start:stop])
        with torch.inference_mode():
            context = network.context(features[None, :stop], torch.arange(stop))
            hidden = network(context, torch.tensor([[7]]), torch.tensor([[stop]]))[0, 0]
            plain = torch.nn.functional.linear(hidden, network.head)
        scores = drafter.scores([(cache, 7)])[0]
        # Packed weights are the same 8 bits but for the head's, which are the base's embedding.
        assert (scores - plain).abs().max() <= (0.02 if packed else 1e-5) * plain.abs().max()


def test_several_sequences_are_drafted_in_one_pass_as_alone(tmp_path: Path) -> None:
    base = packed_model(base_config(), Int4Linear, CONTEXT)
    drafter = Drafter.load(save_drafter(base, tmp_path), base, CONTEXT)
    generator = torch.Generator().manual_seed(0)
    sequences = []
    for rows, token in ((3, 5), (20, 9), (1, 11)):
        cache = drafter.new_cache()
        drafter.extend(cache, torch.randn(rows, drafter.parts.width, generator=generator))
        sequences.append((cache, token))
    together = drafter.scores(sequences)
    for each, scores in zip(sequences, together, strict=True):
        assert torch.equal(drafter.scores([each])[0], scores)


def test_a_cut_context_is_that_of_a_shorter_one(tmp_path: Path) -> None:
    drafter = Drafter.load(save_drafter(BASE, tmp_path), BASE, CONTEXT)
    features = torch.randn(9, drafter.parts.width, generator=torch.Generator().manual_seed(0))
    short, long, late = (drafter.new_cache() for _ in range(3))
    drafter.extend(short, features[:5])
    drafter.extend(long, features)
    drafter.draft([(long, 3)])
    long.crop(5)
    expected = drafter.scores([(short, 3)])
    assert torch.equal(drafter.scores([(long, 3)]), expected)
    # What waits for a draft is counted and cut like what has been taken in.
    drafter.extend(late, features[:3])
    drafter.extend(late, features[3:4], later=True)
    drafter.extend(late, features[4:], later=True)
    assert len(late) == 9
    late.crop(5)
    assert len(late) == 5
    assert torch.allclose(drafter.scores([(late, 3)]), expected, rtol=1e-4, atol=1e-4)
    drafter.extend(late, features[5:], later=True)
    late.crop(2)
    assert len(late) == 2


def test_an_altered_or_truncated_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    place = save_drafter(BASE, tmp_path)
    weights = place / files.WEIGHTS
    whole = weights.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        weights.write_bytes(damaged)
        with pytest.raises(DrafterError, match="damaged: its sha256 is"):
            Drafter.load(place, BASE, CONTEXT)
    weights.unlink()
    with pytest.raises(DrafterError, match="cannot be read"):
        Drafter.load(place, BASE, CONTEXT)


@pytest.mark.parametrize("text", ["", "{", "[]", '"a"', "{}", '{"kind": "something"}'])
def test_a_strange_configuration_is_refused(tmp_path: Path, text: str) -> None:
    save_drafter(BASE, tmp_path)
    (tmp_path / files.CONFIG).write_text(text)
    with pytest.raises(DrafterError):
        Drafter.load(tmp_path, BASE, CONTEXT)


def test_a_directory_without_a_drafter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DrafterError, match="holds no drafter"):
        Drafter.load(tmp_path, BASE, CONTEXT)


def test_a_drafter_of_another_base_is_refused(tmp_path: Path) -> None:
    place = save_drafter(BASE, tmp_path)
    with pytest.raises(DrafterError, match="trained for other weights"):
        Drafter.load(place, tiny_model(base_config(), seed=1), CONTEXT)
    for changes in ({"num_layers": 3}, {"vocab_size": 60}, {"hidden_size": 64}):
        with pytest.raises(DrafterError, match="belongs to tiny"):
            Drafter.load(place, tiny_model(base_config(**changes)), CONTEXT)


@pytest.mark.parametrize("features", [[0, 1, 4], [2, 1], [1, 1], [], [-1, 2]])
def test_layers_that_the_base_lacks_are_refused(tmp_path: Path, features: list[int]) -> None:
    place = save_drafter(BASE, tmp_path)
    values = json.loads((place / files.CONFIG).read_text())
    values["drafter"]["features"] = features
    (place / files.CONFIG).write_text(json.dumps(values))
    with pytest.raises(DrafterError, match="hidden states after some layers"):
        Drafter.load(place, BASE, CONTEXT)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    values = drawn_network(BASE).config.to_json()
    del values["heads"]
    with pytest.raises(DrafterError, match="heads"):
        DrafterConfig.from_json(values)


def test_the_fingerprint_is_that_of_the_weights_in_any_number_format() -> None:
    float_base = tiny_model(base_config())
    assert fingerprint(float_base) == fingerprint(BASE)
    assert fingerprint(float_base.bfloat16()) == fingerprint(BASE)
    assert fingerprint(tiny_model(base_config(), seed=1)) != fingerprint(BASE)


def test_the_bundled_drafter_is_found_by_its_base(tmp_path: Path) -> None:
    other = tiny_model(base_config(), seed=1)
    save_drafter(BASE, tmp_path / "mine")
    save_drafter(other, tmp_path / "other")
    assert bundled.find(BASE, tmp_path) == tmp_path / "mine"
    assert bundled.find(other, tmp_path) == tmp_path / "other"
    assert bundled.find(tiny_model(base_config(), seed=2), tmp_path) is None
    assert bundled.find(BASE, tmp_path / "nothing") is None


def test_calibration_finds_how_often_probabilities_come_true() -> None:
    generator = torch.Generator().manual_seed(0)
    drafts = []
    for _ in range(4000):
        p = float(torch.rand((), generator=generator)) * 0.98 + 0.01
        logit = math.log(p / (1 - p))
        true = 1 / (1 + math.exp(-(0.5 * logit - 1.0)))
        drafts.append((0, p, bool(torch.rand((), generator=generator) < true)))
    fitted = Calibration.fitted(drafts, 2)
    assert fitted.slopes[0] == pytest.approx(0.5, abs=0.1)
    assert fitted.offsets[0] == pytest.approx(-1.0, abs=0.1)
    assert (fitted.slopes[1], fitted.offsets[1]) == (1.0, 0.0)
    assert fitted.chance(0, 0.9) == pytest.approx(1 / (1 + math.exp(-(0.5 * math.log(9) - 1))), 0.1)
    assert 0 <= fitted.chance(0, 0.0) < fitted.chance(0, 1.0) <= 1


class Fixed:
    """Proposes the same candidates at every place."""

    def __init__(self, *chances: float, depth: int = 6) -> None:
        self._chances, self._depth = chances, depth

    def after(self, path: Sequence[int], count: int) -> Sequence[Candidate]:
        if len(path) > self._depth:
            return []
        return [Candidate(i, chance) for i, chance in enumerate(self._chances[:count])]


def grown(proposal: Fixed | None, slope: float, rows: int = 8, deepest: int = 6) -> Tree:
    return grow(
        50, proposal, cost=lambda n: 1 + slope * (n - 1), spent=0.1, rows=rows, deepest=deepest
    )


def test_a_tree_takes_the_likeliest_branches_and_parents_first() -> None:
    tree = grown(Fixed(0.6, 0.3), slope=0.01)
    assert len(tree) == 8
    assert sorted(tree.chances, reverse=True) == tree.chances
    for row, parent in enumerate(tree.parents[1:], 1):
        assert parent < row
        assert tree.depths[row] == tree.depths[parent] + 1
        assert tree.child(parent, tree.tokens[row]) == row
    assert tree.expected == pytest.approx(sum(tree.chances))


def test_dear_rows_make_narrow_trees_and_hopeless_drafts_none() -> None:
    widths = [len(grown(Fixed(0.6, 0.2), slope)) for slope in (0.01, 0.1, 0.3, 1.0)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 8
    assert widths[-1] == 1
    assert len(grown(Fixed(0.01), 0.1)) == 1
    assert len(grown(None, 0.01)) == 1


def test_a_step_in_the_cost_of_rows_is_climbed_where_it_pays() -> None:
    def cost(rows: int) -> float:
        return 1.0 if rows == 1 else 1.5

    tree = grow(50, Fixed(0.45), cost=cost, rows=8, deepest=6)
    # The first alone would not pay for the step: 1.45 tokens at 1.5 times the cost.
    assert len(tree) > 2


def test_a_tree_is_no_deeper_than_the_room_that_is_left() -> None:
    assert max(grown(Fixed(0.9), 0.01, deepest=2).depths) == 2
    assert len(grown(Fixed(0.9), 0.01, deepest=0)) == 1
    assert len(grown(Fixed(0.9), 0.01, rows=1)) == 1
