"""The prediction kernel against torch's maximum and exponential."""

import pytest
import torch

from dllm_core.cpu.prediction import best_token, serves

pytestmark = pytest.mark.kernels


def plain(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    highest, ids = logits.double().max(dim=-1, keepdim=True)
    weights = (logits.double() - highest).exp().scatter(-1, ids, 0.0)
    return ids.squeeze(-1), weights.sum(-1).float()


@pytest.mark.parametrize("rows", [1, 2, 33])
@pytest.mark.parametrize("vocab", [16, 64, 4096])
def test_predictions(rows: int, vocab: int) -> None:
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(rows)) * 5
    ids, others = best_token(logits)
    expected = plain(logits)
    assert torch.equal(ids, expected[0])
    torch.testing.assert_close(others, expected[1])
    wide = torch.zeros(rows, 3 * vocab)
    wide[:, vocab : 2 * vocab] = logits
    assert torch.equal(best_token(wide[:, vocab : 2 * vocab])[1], others)


def test_the_first_of_equals_is_taken() -> None:
    logits = torch.zeros(3, 64)
    logits[1, 50] = logits[1, 19] = logits[1, 35] = 2.0
    logits[2, 63] = 1.0
    ids, others = best_token(logits)
    assert ids.tolist() == [0, 19, 63]
    assert others[0] == 63  # its equals weigh as much as the one that is taken


def test_banned_tokens_weigh_nothing() -> None:
    logits = torch.full((1, 32), -torch.inf)
    logits[0, 30] = -40.0
    ids, others = best_token(logits)
    assert ids.item() == 30
    assert others.item() < 1e-30


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[3e38, 0.0] + [-3e38] * 14])
    assert best_token(logits)[1].item() < 1e-30


@pytest.mark.parametrize("wrong", [float("nan"), -torch.inf, torch.inf])
def test_where_nothing_is_best_nothing_is_sure(wrong: float) -> None:
    logits = torch.zeros(2, 32)
    logits[1] = wrong
    ids, others = best_token(logits)
    assert others[0] == 31
    assert others[1].isnan()
    assert 0 <= int(ids[1]) < 32


def test_torch_takes_the_others() -> None:
    assert serves(torch.zeros(2, 32))
    for other in (torch.zeros(2, 31), torch.zeros(2, 32).double(), torch.zeros(32, 2).T):
        assert not serves(other)
