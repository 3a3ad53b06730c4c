"""A network's cost is counted exactly, without running it."""

import pytest
import torch

from kidneyseg.network import AUTHORS
from kidneyseg.network.cost import count_forward_macs
from kidneyseg.settings import NetworkSettings


@pytest.mark.parametrize(
    ("filters", "kernel_size", "gmac"),
    [(64, 5, 60.4), (32, 5, 15.2), (16, 3, 1.5), (8, 5, 1.0)],
)
def test_the_authors_variants_cost_what_was_counted_in_their_code(
    filters: int, kernel_size: int, gmac: float
) -> None:
    settings = AUTHORS.model_copy(update={"filters": filters, "kernel_size": kernel_size})
    assert round(count_forward_macs(settings, (256, 256)) / 1e9, 1) == gmac


def test_every_convolution_counts_once() -> None:
    settings = NetworkSettings(
        filters=2, kernel_size=1, squeeze_excitation="none", input_slices=3, output_channels=2
    )
    dense = {channels: 2 * (channels + (channels + 2) + (channels + 4)) for channels in (2, 3, 4)}
    pixels = [32 * 16 // 4**level for level in range(5)]
    encoders = dense[3] * pixels[0] + dense[2] * sum(pixels[1:4])
    bottleneck, classifier = 2 * 2 * pixels[4], 2 * 2 * pixels[0]
    decoders = dense[4] * sum(pixels[:4])
    expected = encoders + bottleneck + decoders + classifier
    assert count_forward_macs(settings, (32, 16)) == expected


def test_counting_draws_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    count_forward_macs(NetworkSettings(filters=4), (32, 32))
    assert torch.equal(torch.random.get_rng_state(), before)
