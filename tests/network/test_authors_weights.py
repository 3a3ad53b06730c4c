"""Weights under the authors' names: the output they give, by plain arithmetic, and what is refused.

The arithmetic follows facts and paper step by step in numpy, in float64, one slice at a time; it
knows only the authors' names and shares nothing with the network under test.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from kidneyseg.errors import ModelError
from kidneyseg.network import AUTHORS, QuickNAT, build_quicknat
from kidneyseg.network.authors_weights import load_authors_weights

Array = NDArray[np.float64]
Weights = dict[str, Array]

FILTERS = 2
KERNEL_SIZE = 3
BATCH_NORM_EPS = 1e-5


def block_shapes(block: str, in_channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    kernels = (KERNEL_SIZE, KERNEL_SIZE, 1)
    for place, kernel in enumerate(kernels, start=1):
        channels = in_channels + (place - 1) * FILTERS
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{block}.batchnorm{place}.{part}", (channels,)
        yield f"{block}.conv{place}.weight", (FILTERS, channels, kernel, kernel)
        yield f"{block}.conv{place}.bias", (FILTERS,)
    yield f"{block}.prelu.weight", (1,)
    half = FILTERS // 2
    yield f"{block}.SELayer.cSE.fc1.weight", (half, FILTERS)
    yield f"{block}.SELayer.cSE.fc1.bias", (half,)
    yield f"{block}.SELayer.cSE.fc2.weight", (FILTERS, half)
    yield f"{block}.SELayer.cSE.fc2.bias", (FILTERS,)
    yield f"{block}.SELayer.sSE.conv.weight", (1, FILTERS, 1, 1)
    yield f"{block}.SELayer.sSE.conv.bias", (1,)


def authors_shapes() -> dict[str, tuple[int, ...]]:
    in_channels = {"encode1": 1, "encode2": 2, "encode3": 2, "encode4": 2, "bottleneck": 2}
    in_channels |= {"decode1": 4, "decode2": 4, "decode3": 4, "decode4": 4}
    shapes = dict(
        pair for block, count in in_channels.items() for pair in block_shapes(block, count)
    )
    return shapes | {"classifier.conv.weight": (1, FILTERS, 1, 1), "classifier.conv.bias": (1,)}


def fixed_weights() -> Weights:
    """Every weight another number, by its place in the list: a swapped name changes the output."""
    weights: Weights = {}
    for number, (name, shape) in enumerate(authors_shapes().items()):
        wave = np.sin(0.7 * np.arange(np.prod(shape)) + number).reshape(shape)
        if name.endswith("prelu.weight"):
            wave = 0.1 + 0.02 * np.full(shape, number % 10)
        elif "conv" in name:
            wave = 0.4 * wave
        elif name.endswith(("running_var", "batchnorm1.weight", "batchnorm2.weight")):
            wave = 1.0 + 0.5 * wave
        weights[name] = wave.astype(np.float32).astype(np.float64)
    return weights


def convolve(x: Array, weight: Array, bias: Array) -> Array:  # (C, H, W), stride 1, zeros around
    padding = (weight.shape[2] - 1) // 2
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((weight.shape[0], *x.shape[1:])) + bias[:, None, None]
    for i, j in product(range(weight.shape[2]), repeat=2):
        window = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
        out += np.einsum("oc,chw->ohw", weight[:, :, i, j], window)
    return out


def normalise_activate_convolve(x: Array, weights: Weights, block: str, place: int) -> Array:
    scale, shift, mean, variance = (
        weights[f"{block}.batchnorm{place}.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    normal = scale * (x - mean) / np.sqrt(variance + BATCH_NORM_EPS) + shift
    active = np.where(normal > 0, normal, weights[f"{block}.prelu.weight"] * normal)
    conv = f"{block}.conv{place}"
    return convolve(active, weights[f"{conv}.weight"], weights[f"{conv}.bias"])


def dense_block(x: Array, weights: Weights, block: str) -> Array:
    a = normalise_activate_convolve(x, weights, block, 1)
    b = normalise_activate_convolve(np.concatenate([x, a]), weights, block, 2)
    return normalise_activate_convolve(np.concatenate([x, a, b]), weights, block, 3)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def squeeze_excite(x: Array, weights: Weights, block: str) -> Array:
    layer = f"{block}.SELayer"
    means = x.mean(axis=(1, 2))
    first = weights[f"{layer}.cSE.fc1.weight"] @ means + weights[f"{layer}.cSE.fc1.bias"]
    hidden = np.maximum(first, 0)
    second = weights[f"{layer}.cSE.fc2.weight"] @ hidden + weights[f"{layer}.cSE.fc2.bias"]
    pixels = convolve(x, weights[f"{layer}.sSE.conv.weight"], weights[f"{layer}.sSE.conv.bias"])
    return np.maximum(x * sigmoid(second)[:, None, None], x * sigmoid(pixels))


def pool(x: Array) -> tuple[Array, list[tuple[int, int, int]]]:
    """Maxima of the 2 x 2 windows, and from which place each came, in the same order."""
    pooled = np.zeros((x.shape[0], x.shape[1] // 2, x.shape[2] // 2))
    places = []
    for channel, row, column in np.ndindex(pooled.shape):
        window = list(product((2 * row, 2 * row + 1), (2 * column, 2 * column + 1)))
        best = max(window, key=lambda place: x[channel, *place])
        pooled[channel, row, column] = x[channel, *best]
        places.append((channel, *best))
    return pooled, places


def unpool(x: Array, places: list[tuple[int, int, int]], shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape)
    for value, place in zip(x.ravel(), places, strict=True):
        out[place] = value
    return out


def quicknat(x: Array, weights: Weights) -> Array:
    skips, all_places = [], []
    for block in ("encode1", "encode2", "encode3", "encode4"):
        skip = squeeze_excite(dense_block(x, weights, block), weights, block)
        x, places = pool(skip)
        skips.append(skip)
        all_places.append(places)
    x = dense_block(x, weights, "bottleneck")
    for block in ("decode4", "decode1", "decode2", "decode3"):
        skip, places = skips.pop(), all_places.pop()
        both = np.concatenate([skip, unpool(x, places, skip.shape)])
        x = squeeze_excite(dense_block(both, weights, block), weights, block)
    return convolve(x, weights["classifier.conv.weight"], weights["classifier.conv.bias"])


def small_network() -> QuickNAT:
    settings = AUTHORS.model_copy(update={"filters": FILTERS, "kernel_size": KERNEL_SIZE})
    return build_quicknat(settings, dropout=0.2).eval()


def save(weights: Weights, path: Path) -> Path:
    save_file({name: value.astype(np.float32) for name, value in weights.items()}, path)
    return path


@pytest.mark.parametrize("size", [(32, 32), (17, 39)])
def test_output_equals_the_papers_arithmetic_on_the_authors_weights(
    size: tuple[int, int], tmp_path: Path
) -> None:
    weights = fixed_weights()
    network = small_network()
    load_authors_weights(network, save(weights, tmp_path / "theirs.safetensors"))
    x = np.random.default_rng(5).normal(size=(1, *size))
    with torch.no_grad():
        logits = network.double()(torch.from_numpy(x)[None])[0].numpy()
    expected = quicknat(x, weights)
    assert expected.std() > 0.01  # the output depends on the pixel, so a wrong place would show
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)


def test_the_excitation_that_their_bottleneck_never_calls_is_left_out(tmp_path: Path) -> None:
    weights = fixed_weights()
    without = {name: value for name, value in weights.items() if "bottleneck.SE" not in name}
    one, other = small_network(), small_network()
    load_authors_weights(one, save(weights, tmp_path / "with.safetensors"))
    load_authors_weights(other, save(without, tmp_path / "without.safetensors"))
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("name", ["decode2.conv3.bias", "encode1.batchnorm2.running_var"])
def test_a_missing_weight_is_named(name: str, tmp_path: Path) -> None:
    weights = fixed_weights()
    del weights[name]
    with pytest.raises(ModelError, match=f"lacks {name}, which the network needs"):
        load_authors_weights(small_network(), save(weights, tmp_path / "f.safetensors"))


def test_a_weight_without_a_place_is_named(tmp_path: Path) -> None:
    weights = fixed_weights() | {"decode5.conv1.bias": np.zeros(2), "extra": np.zeros(1)}
    with pytest.raises(ModelError, match=r"holds decode5\.conv1\.bias and 1 more, for which"):
        load_authors_weights(small_network(), save(weights, tmp_path / "f.safetensors"))


def test_another_number_of_classes_is_refused_with_both_shapes_and_nothing_is_loaded(
    tmp_path: Path,
) -> None:
    weights = fixed_weights() | {"classifier.conv.weight": np.zeros((33, FILTERS, 1, 1))}
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=r"shape \(33, 2, 1, 1\), expected \(1, 2, 1, 1\)"):
        load_authors_weights(network, save(weights, tmp_path / "f.safetensors"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    path.write_bytes(b"PK\x03\x04 as torch.save writes it")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_authors_weights(small_network(), path)
    with pytest.raises(ModelError, match="no such file"):
        load_authors_weights(small_network(), tmp_path / "absent.safetensors")
