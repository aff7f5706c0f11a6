"""Which matrix product a projection takes after it was measured."""

from collections.abc import Callable

import torch
from support.tiny import tiny_config, tiny_model

from dllm_core.gpu.paged_model import PagedModel
from dllm_core.gpu.tuning import tune
from dllm_core.model.paged_cache import PagePool


def test_the_faster_product_is_chosen_for_each_shape() -> None:
    model = tiny_model(tiny_config())
    paged = PagedModel(model, PagePool(model.config, 2, torch.float32, torch.device("cpu")))
    times = iter([1.0, 2.0] * 3 + [2.0, 1.0])

    def milliseconds(work: Callable[[], None]) -> float:
        work()
        return next(times)

    tune(paged, [32, 32, 129], milliseconds)
    assert paged.choices == {
        (32, 36, 96): "torch",
        (32, 48, 36): "torch",
        (32, 36, 100): "torch",
        (32, 50, 36): "triton",
    }
    assert next(times, None) is None
