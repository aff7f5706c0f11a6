import torch

from dllm_core.quantize import Int4Linear, Int4Rows, Int8Linear


def quantized(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Int8Linear:
    layer = Int8Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.store_rows(0, weight)
    if layer.bias is not None:
        layer.bias.copy_(bias)
    return layer


def test_inputs_lose_nothing_that_matters() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, 64, generator=generator)
    x[:, 3] *= 200  # one channel dwarfs the others, as in real models
    layer = quantized(torch.randn(48, 64, generator=generator))
    bias = torch.randn(48, generator=generator)
    exact = x @ (layer.weight.float() * layer.scale[:, None]).T
    torch.testing.assert_close(layer(x), exact, atol=1e-4 * float(exact.abs().max()), rtol=0)
    layer.bias = bias
    torch.testing.assert_close(layer(x), exact + bias, atol=1e-4 * float(exact.abs().max()), rtol=0)


def test_a_position_does_not_depend_on_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 32, generator=generator)
    layer = quantized(torch.randn(16, 32, generator=generator))
    alone = layer(x[:1])
    x[1:] *= 1000
    assert torch.equal(layer(x)[:1], alone)


def test_bfloat16_weights_lose_no_more_than_others() -> None:
    rows = torch.randn(64, 96, generator=torch.Generator().manual_seed(10)).bfloat16()
    narrow, wide = quantized(rows), quantized(rows.float())
    assert torch.equal(narrow.weight, wide.weight)


def test_a_row_of_zeros_gives_zero() -> None:
    layer = quantized(torch.zeros(4, 8))
    assert torch.equal(layer(torch.zeros(2, 8)), torch.zeros(2, 4))


def four_bit(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Random weights as a Q4_1 file has them: 16 levels in every group of 32."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 16, (rows, columns // 32, 32), generator=generator)
    levels[..., 0], levels[..., 1] = 0, 15
    step = torch.rand(rows, columns // 32, 1, generator=generator) * 0.01 + 0.001
    return (levels * step - 8.2 * step).view(rows, columns)


def test_four_bit_weights_are_multiplied_as_they_are() -> None:
    weight = four_bit(192, 96, 3)
    layer = Int4Linear(96, 192, bias=True)
    layer.store_rows(128, weight[128:])
    layer.store_rows(0, weight[:128])
    layer.settle()
    assert layer.weight.numel() == 0
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(4))
    exact = x @ weight.T
    # Inputs, scales and outputs are bfloat16: 2**-9 each of the largest summands.
    torch.testing.assert_close(layer(x), exact, atol=0.01 * float(exact.abs().max()), rtol=0)
    for rows in (1, 2, 4):
        torch.testing.assert_close(layer(x[:rows]), layer(x)[:rows])


def test_other_weights_stay_int8() -> None:
    generator = torch.Generator().manual_seed(5)
    for weight in (torch.randn(64, 64, generator=generator), four_bit(48, 32, 6)):
        assert Int4Rows.of(weight) is None
        layer = Int4Linear(weight.shape[1], weight.shape[0])
        layer.store_rows(0, weight)
        layer.settle()
        assert layer.weight.shape == weight.shape


def test_int8_stays_int8_whatever_the_checkpoint_has() -> None:
    layer = quantized(four_bit(64, 32, 9))
    layer.settle()
    assert layer.weight.shape == (64, 32)


def test_a_layer_of_both_kinds_stays_int8() -> None:
    layer = Int4Linear(32, 128)
    layer.store_rows(0, four_bit(64, 32, 7))
    layer.store_rows(64, torch.randn(64, 32, generator=torch.Generator().manual_seed(8)))
    layer.settle()
    assert layer.weight.shape == (128, 32)
