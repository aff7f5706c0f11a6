"""Loading, as far as it needs no model."""

import gc

import pytest

from agent.runtime.engines import keep_loaded


@pytest.mark.slow
def test_what_is_loaded_is_not_collected_again():
    before = gc.get_freeze_count()
    try:
        keep_loaded()
        assert gc.get_freeze_count() > before + 10_000
        assert len(gc.get_objects()) < 10_000
    finally:
        gc.unfreeze()
