"""The prediction kernel against torch's maximum and logsumexp."""

import pytest
import torch

from dllm_core.cpu.prediction import predict, serves


def plain(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    highest, ids = logits.max(dim=-1)
    return ids, (highest - logits.logsumexp(-1)).exp()


@pytest.mark.parametrize("rows", [1, 2, 33])
@pytest.mark.parametrize("vocab", [16, 64, 4096])
def test_predictions(rows: int, vocab: int) -> None:
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(rows)) * 5
    ids, probabilities = predict(logits)
    expected = plain(logits)
    assert torch.equal(ids, expected[0])
    torch.testing.assert_close(probabilities, expected[1])
    wide = torch.zeros(rows, 3 * vocab)
    wide[:, vocab : 2 * vocab] = logits
    assert torch.equal(predict(wide[:, vocab : 2 * vocab])[1], probabilities)


def test_the_first_of_equals_is_taken() -> None:
    logits = torch.zeros(3, 64)
    logits[1, 50] = logits[1, 19] = logits[1, 35] = 2.0
    logits[2, 63] = 1.0
    assert predict(logits)[0].tolist() == [0, 19, 63]


def test_banned_tokens_weigh_nothing() -> None:
    logits = torch.full((1, 32), -torch.inf)
    logits[0, 30] = -40.0
    ids, probabilities = predict(logits)
    assert ids.item() == 30
    assert probabilities.item() == 1.0


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[3e38, 0.0] + [-3e38] * 14])
    assert predict(logits)[1].item() == 1.0


def test_torch_takes_the_others() -> None:
    assert serves(torch.zeros(2, 32))
    for other in (torch.zeros(2, 31), torch.zeros(2, 32).double(), torch.zeros(32, 2).T):
        assert not serves(other)
