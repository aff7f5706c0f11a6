"""The product kernel against what torch computes from the same weights in float64."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait

import pytest
import torch
import torch.nn.functional as F
from support.packed import packed

from dllm_core.cpu import product, team
from dllm_core.cpu.formats import EIGHT_BITS, FORMATS, FOUR_BITS, Format
from dllm_core.cpu.jit import tiles
from dllm_core.cpu.packed import PackedRows
from dllm_core.cpu.product import Norm, multiply, panel

pytestmark = pytest.mark.kernels

FORMS = pytest.mark.parametrize("form", [FOUR_BITS, EIGHT_BITS], ids=["4", "8"])
PORTABLE = pytest.mark.parametrize("portable", [False, True], ids=["host", "portable"])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(x: torch.Tensor, weights: PackedRows) -> torch.Tensor:
    return x.double() @ weights.unpacked().double().T


def close(found: torch.Tensor, expected: torch.Tensor, share: float = 1e-4) -> None:
    """Off by no more than a share of the largest."""
    most = share * float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, atol=most, rtol=0)


@FORMS
@PORTABLE
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 9, 13, 32, 65, 130])
def test_products(form: Format, rows: int, portable: bool) -> None:
    weights = packed(160, 96, form)
    x = drawn(rows, 96)
    x[:, 3] *= 200  # one channel dwarfs the others, as in real models
    close(multiply(x, weights, portable=portable), exact(x, weights), 2e-4)


@FORMS
def test_rows_are_normalised_first(form: Format) -> None:
    weights, x = packed(64, 96, form), drawn(5, 96)
    norm = Norm(drawn(96, seed=1), 1e-5)
    expected = exact(F.rms_norm(x, (96,), norm.weight, norm.eps), weights)
    close(multiply(x, weights, norm=norm), expected)


@FORMS
def test_products_are_added_to_what_is_there(form: Format) -> None:
    weights, x, there = packed(96, 64, form), drawn(6, 64), drawn(6, 96, seed=2)
    expected, bias = exact(x, weights) + there, drawn(96, seed=4)
    found = multiply(x, weights, into=there, bias=bias)
    assert found is there
    close(found, expected + bias)


@FORMS
def test_a_paired_layer_gates_its_values(form: Format) -> None:
    weights, x = packed(192, 64, form, paired=True), drawn(9, 64)
    products = exact(x, weights)
    gate, value = products.chunk(2, -1)
    close(multiply(x, weights, swiglu=True), F.silu(gate) * value)
    close(multiply(x, weights), products)


def test_a_closed_gate_lets_nothing_through() -> None:
    """Its e**-gate is beyond what a float32 can be."""
    weights = PackedRows(32, 32, EIGHT_BITS, paired=True)
    weights.store(0, torch.cat([torch.full((16, 32), -10.0), torch.ones(16, 32)]))
    assert float(multiply(torch.ones(1, 32), weights, swiglu=True).abs().max()) < 1e-30


def test_other_columns_are_refused() -> None:
    for x in (torch.zeros(2, 31), torch.zeros(2, 64), torch.zeros(32)):
        with pytest.raises(ValueError, match=r"not \(rows, 32\)"):
            multiply(x, packed(64, 32, EIGHT_BITS))


@pytest.mark.parametrize(("outputs", "inputs"), [(50, 40), (7, 8), (33, 64), (64, 33)])
def test_any_shape_is_multiplied(outputs: int, inputs: int) -> None:
    weights, x = packed(outputs, inputs, EIGHT_BITS), drawn(4, inputs)
    norm, bias = Norm(drawn(inputs, seed=1), 1e-5), drawn(outputs, seed=2)
    expected = exact(F.rms_norm(x, (inputs,), norm.weight, norm.eps), weights) + bias
    found = multiply(x, weights, norm=norm, bias=bias)
    assert found.shape == expected.shape
    close(found, expected)
    there = drawn(4, outputs, seed=5)
    close(multiply(x, weights, into=there.clone()), exact(x, weights) + there)


@FORMS
def test_a_row_does_not_depend_on_its_neighbours_in_a_single_bit(form: Format) -> None:
    weights, x = packed(96, 64, form), drawn(40, 64)
    together = multiply(x, weights)
    for row in range(len(x)):
        assert torch.equal(multiply(x[row : row + 1], weights)[0], together[row])
    x[1:] *= 1000
    assert torch.equal(multiply(x, weights)[0], together[0])


@pytest.mark.skipif(not tiles(), reason="this processor has no tiles, or may not use them")
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("supers", [1, 2])
def test_tiles_give_the_bits_of_vectors(
    form: Format, supers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = any_weights(96, 32 * form.span * supers, form)
    x = drawn(40, weights.in_features)
    x[2] = x[2].sign()  # every level is the largest there is
    x[3, 5], x[4] = float("nan"), 0.0
    for rows in range(1, len(x) + 1):
        found = []
        for least in (1, 99):
            monkeypatch.setattr(product, "_TILED", least)
            found.append(multiply(x[:rows], weights))
        tiled, plain = found
        assert torch.equal(tiled.isnan(), plain.isnan())
        assert torch.equal(tiled.nan_to_num(), plain.nan_to_num())


def any_weights(outputs: int, inputs: int, form: Format) -> PackedRows:
    """Every level, and finite grids."""
    generator = torch.Generator().manual_seed(inputs)
    weights = PackedRows(inputs, outputs, form)
    weights.data.random_(0, 256, generator=generator)
    numbers = [weights._grid()] if form.grid.is_floating_point else []
    for part in [*numbers, *([weights._supers()] if form.supers else [])]:
        part.copy_(torch.randn(part.shape, generator=generator) / 100)
    return weights


def test_rows_may_lie_apart() -> None:
    weights, wide = packed(64, 32, EIGHT_BITS), drawn(6, 80)
    assert torch.equal(multiply(wide[:, 10:42], weights), multiply(wide[:, 10:42].clone(), weights))
    backwards = drawn(32, 6).T
    assert torch.equal(multiply(backwards, weights), multiply(backwards.contiguous(), weights))


def test_no_rows_give_none() -> None:
    assert multiply(torch.empty(0, 32), packed(64, 32, EIGHT_BITS)).shape == (0, 64)
    paired = packed(64, 32, EIGHT_BITS, paired=True)
    assert multiply(torch.empty(0, 32), paired).shape == (0, 64)
    assert multiply(torch.empty(0, 32), paired, swiglu=True).shape == (0, 32)


def test_tiny_and_huge_numbers() -> None:
    weights = packed(32, 32, EIGHT_BITS)
    for scale in (0.0, 1e-38, 1e-20, 1e20):
        x = drawn(3, 32) * scale
        assert multiply(x, weights).isfinite().all()
        assert float(multiply(x, weights).abs().max()) <= 200 * float(x.abs().max())
        if scale > 1e-30:
            close(multiply(x, weights), exact(x, weights))


@PORTABLE
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("normed", [False, True])
def test_what_is_no_number_stays_none(wrong: float, normed: bool, portable: bool) -> None:
    weights, x = packed(64, 96, EIGHT_BITS), drawn(3, 96)
    norm = Norm(drawn(96, seed=1), 1e-5) if normed else None
    expected = multiply(x, weights, norm=norm, portable=portable)
    x[1, 40] = wrong
    found = multiply(x, weights, norm=norm, portable=portable)
    assert not found[1].isfinite().any()
    assert torch.equal(found[::2], expected[::2])


@FORMS
@PORTABLE
@pytest.mark.parametrize("rows", [5, 7, 9, 13])
def test_rows_that_fill_a_panel_are_zero(form: Format, rows: int, portable: bool) -> None:
    """Denormal numbers, as are left in memory, would make the product several times as slow."""
    weights, x, out = packed(64, 96, form), drawn(rows, 96), torch.empty(rows, 64)
    denormal = 5
    sizes = product.workspace_sizes(rows, weights)
    memory = [torch.full((-(-size // 4),), denormal, dtype=torch.int32) for size in sizes]
    places = [each.data_ptr() for each in memory]
    team.run(product.launch(x, weights, out, places, portable=portable))
    close(out, exact(x, weights), 2e-4)
    size, panels = panel(rows)
    assert size * panels > rows
    for numbers in memory[1:]:
        grid = numbers.view(torch.float32).view(weights.groups, size * panels)
        assert grid[:, :rows].abs().min() > 1e-6
        assert not grid[:, rows:].any()


def test_panels_waste_few_rows() -> None:
    for rows in range(1, 300):
        size, panels = panel(rows)
        assert rows <= size * panels < rows + max(size, panels)


def test_threads_of_python_take_the_place_of_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, x = packed(640, 64, FOUR_BITS), drawn(20, 64)
    expected = multiply(x, weights)
    monkeypatch.setattr(team, "_runner", lambda: team.pooled)
    assert torch.equal(multiply(x, weights), expected)


def test_a_pool_is_waited_for_whatever_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads work in memory that is freed afterwards."""
    begun, free = threading.Event(), threading.Event()
    interruptions = [KeyboardInterrupt(), None]

    def kernel(address: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            free.wait(5)

    def interrupted(calls: Sequence[Future[None]]) -> None:
        assert begun.wait(5)
        if (error := interruptions.pop(0)) is not None:
            raise error
        free.set()
        wait(calls)

    monkeypatch.setattr(team, "_FUNCTION", lambda address: kernel)
    monkeypatch.setattr(team, "wait", interrupted)
    monkeypatch.setattr(team, "_pools", {})
    with pytest.raises(KeyboardInterrupt):
        team.pooled(0, 0, 2)
    assert free.is_set()
    assert not interruptions


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    weights, x = packed(640, 64, FOUR_BITS), drawn(20, 64)
    expected, before = multiply(x, weights), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(multiply(x, weights), expected)
    finally:
        torch.set_num_threads(before)
