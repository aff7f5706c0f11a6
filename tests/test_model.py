import torch
from support.tiny import tiny_config

from dllm_core.model.transformer import visibility


def test_causal_rows_see_the_past_and_themselves() -> None:
    mask = visibility(tiny_config(), 3, 2, 5)
    assert mask is not None
    assert mask.tolist() == [[True] * 4 + [False], [True] * 5]


def test_a_single_causal_row_needs_no_mask() -> None:
    assert visibility(tiny_config(), 3, 1, 4) is None


def test_blocks_see_themselves_and_all_before() -> None:
    mask = visibility(tiny_config(block_length=2), 1, 4, 6)
    assert mask is not None
    assert mask.sum(1).tolist() == [2, 4, 4, 6]


def test_canvas_rows_of_a_causal_model_see_each_other() -> None:
    mask = visibility(tiny_config(), 2, 4, 6, canvas=4)
    assert mask is not None
    assert mask.sum(1).tolist() == [3, 4, 6, 6]


def test_bidirectional_models_see_everything() -> None:
    assert visibility(tiny_config(attention="bidirectional"), 0, 3, 3) is None
    assert torch.is_tensor(visibility(tiny_config(), 0, 3, 3))
