import torch

from dllm_core.quantize import Int8Linear


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


def test_a_row_of_zeros_gives_zero() -> None:
    layer = quantized(torch.zeros(4, 8))
    assert torch.equal(layer(torch.zeros(2, 8)), torch.zeros(2, 4))
