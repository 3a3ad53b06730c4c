"""Devices by name, and how a GPU is told to compute."""

from collections.abc import Iterator

import pytest
import torch

from kidneyseg.errors import SettingsError
from kidneyseg.training.device import (
    allow_tf32,
    check_precision,
    find_device,
    set_up_gpu,
    slow_precision,
)


def test_auto_is_the_first_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == torch.device("cuda:0")


def test_auto_is_the_cpu_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")


def test_a_named_device_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cpu").type == "cpu"
    assert find_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SettingsError, match=f"'{name}': this machine has 2 GPUs"):
        find_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:one", "cuda:-1", "meta", "mps"])
def test_what_is_no_device_of_ours_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"expected auto, cpu, cuda or cuda:0"):
        find_device(name)


@pytest.fixture
def flags() -> Iterator[None]:
    """Put back what PyTorch's GPU flags were."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32)
    yield
    cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = before
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
def test_a_gpu_computes_as_the_settings_say(*, deterministic: bool, tf32: bool) -> None:
    set_up_gpu(deterministic=deterministic, tf32=tf32)
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("tf32", [False, True])
def test_convolutions_and_products_are_shortened_together_or_not_at_all(*, tf32: bool) -> None:
    allow_tf32(tf32)
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32


def test_tf32_is_refused_without_a_gpu() -> None:
    with pytest.raises(SettingsError, match="precision 'tf32' on cpu: only GPUs have it; expected"):
        check_precision("tf32", torch.device("cpu"))
    check_precision("tf32", torch.device("cuda:0"))
    check_precision("bfloat16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("precision", "device", "known", "slow"),
    [
        ("bfloat16", "cpu", {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ("bfloat16", "cpu", {"avx512_bf16": True}, False),
        ("bfloat16", "cpu", {"amx_bf16": True}, False),
        ("bfloat16", "cuda:0", {}, False),
        ("float32", "cpu", {}, False),
    ],
)
def test_bfloat16_is_warned_of_where_the_processor_lacks_it(
    precision: str,
    device: str,
    known: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch,
    *,
    slow: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    sentence = slow_precision(precision, torch.device(device))
    assert (sentence is not None) is slow
    assert sentence is None or "'bfloat16': this processor has no instructions" in sentence
