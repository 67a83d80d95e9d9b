"""What agents call a device is what the catalogue calls it: neither side imports the other."""

from __future__ import annotations

import pytest

from computepool_agents.backends.nvml import MODELS
from computepool_broker.model.accelerators import catalogue


@pytest.mark.parametrize(("driver_name", "model"), MODELS.items())
def test_an_agents_spelling_is_the_catalogues(driver_name: str, model: str) -> None:
    row = catalogue().find(model)
    assert row is not None
    assert row.model == model
    assert catalogue().find(driver_name) is row, "an agent of another version may pass it as it is"


def test_agents_know_all_nvidia_models_of_the_catalogue() -> None:
    want = {row.model for row in catalogue().accelerators if row.vendor == "NVIDIA"}
    assert want == set(MODELS.values())
