"""The meaning of what may vary."""

import pytest

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.report.meanings import meaning
from kidneyseg.settings import NetworkSettings

NAMES = [*Hyperparameters.model_fields, *(f"network.{n}" for n in NetworkSettings.model_fields)]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_may_vary_has_a_meaning_in_one_line(name: str) -> None:
    assert meaning(name)
    assert "\n" not in meaning(name)
    assert "|" not in meaning(name), "it would end a table's cell"


def test_what_a_confirmation_varies_has_none() -> None:
    assert meaning("candidate") == ""


def test_a_network_s_setting_is_not_taken_for_a_hyper_parameter() -> None:
    assert meaning("network.filters") == "Channels of every level."
    assert meaning("filters") == ""
