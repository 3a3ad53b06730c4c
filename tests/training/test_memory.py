"""Memory: nothing is left of a training that is over."""

import gc
import sys
import weakref
from collections.abc import Callable

import pytest
import torch

from kidneyseg.training.memory import keep_freed_memory
from kidneyseg.training.trainer import Training


def living_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_no_tensor_is_left_of_a_training_that_is_over(
    build_training: Callable[..., Training],
) -> None:
    list(build_training().epochs())
    before = living_tensors()
    for seed in range(3):
        training = build_training(seed=seed)
        list(training.epochs())
        gone = weakref.ref(training)
        del training
        assert living_tensors() <= before
        assert gone() is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, which Linux alone has")
def test_glibc_is_told_to_keep_freed_memory() -> None:
    assert keep_freed_memory()


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
