"""Slices at once: fewer where memory runs out, whoever says so."""

import pytest
import torch

from kidneyseg.training.slices_at_once import SlicesAtOnce

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
    ids=repr,
)
def test_work_is_begun_anew_with_half_of_them(error: Exception) -> None:
    at_once, undone, tried = SlicesAtOnce(8, CPU), list[int](), list[int]()

    def work(n: int) -> str:
        tried.append(n)
        if n > 2:
            raise error
        return "done"

    assert at_once.run(work, lambda: undone.append(at_once.n)) == "done"
    assert (tried, undone, at_once.n) == ([8, 4, 2], [4, 2], 2)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: device-side assert triggered"), ValueError("x")]
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    at_once = SlicesAtOnce(8, CPU)

    def work(n: int) -> None:
        raise error

    with pytest.raises(type(error)):
        at_once.run(work)
    assert at_once.n == 8
