"""Claims of GPUs: one worker each, across processes, and given back however a worker ends."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from kidneyseg.errors import CorrectableError
from kidneyseg.search.gpu_claims import GpuClaim, claim_gpu, claimed_device, visible_gpus

GPUS = ["aaaa-0", "bbbb-1", "cccc-2"]

HOLDER = """
import sys, time
from pathlib import Path
from kidneyseg.search.gpu_claims import claim_gpu
claim = claim_gpu(Path(sys.argv[1]), sys.argv[2:])
print(claim.device if claim else "none", flush=True)
time.sleep(60)
"""


def hold(folder: Path, gpus: list[str]) -> subprocess.Popen[str]:
    """Start another process that claims a GPU and stands still."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *gpus], stdout=subprocess.PIPE, encoding="utf-8"
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def claimed(folder: Path, gpus: list[str] = GPUS) -> GpuClaim:
    claim = claim_gpu(folder, gpus)
    assert claim is not None
    return claim


def test_claims_take_one_gpu_after_the_other_until_none_is_left(tmp_path: Path) -> None:
    claims = [claimed(tmp_path) for _ in GPUS]
    assert [claim.device for claim in claims] == ["cuda:0", "cuda:1", "cuda:2"]
    assert [claim.uuid for claim in claims] == GPUS
    assert claim_gpu(tmp_path, GPUS) is None


def test_a_released_gpu_is_claimed_again(tmp_path: Path) -> None:
    claims = [claimed(tmp_path) for _ in GPUS]
    claims[1].release()
    assert claimed(tmp_path).device == "cuda:1"


def test_a_gpu_is_the_same_one_whatever_its_number_in_a_container(tmp_path: Path) -> None:
    first = claimed(tmp_path, ["aaaa-0", "bbbb-1"])
    assert first.device == "cuda:0"
    other_order = claimed(tmp_path, ["bbbb-1", "aaaa-0"])
    assert other_order.uuid == "bbbb-1"
    assert claim_gpu(tmp_path, ["aaaa-0"]) is None


def test_many_at_once_claim_each_gpu_once(tmp_path: Path) -> None:
    gpus = [f"gpu {number}" for number in range(6)]
    start = threading.Barrier(10)

    def claim(_: int) -> GpuClaim | None:
        start.wait()
        return claim_gpu(tmp_path, gpus)

    with ThreadPoolExecutor(10) as pool:
        claims = list(pool.map(claim, range(10)))
    assert sorted(claim.uuid for claim in claims if claim is not None) == gpus


def test_another_process_holds_its_gpu_until_it_is_killed(tmp_path: Path) -> None:
    with hold(tmp_path, ["one"]) as other:
        try:
            assert said(other) == "cuda:0"
            assert claim_gpu(tmp_path, ["one"]) is None
        finally:
            other.kill()
    assert claimed(tmp_path, ["one"]).device == "cuda:0"


def test_a_device_is_held_for_the_length_of_the_block(tmp_path: Path) -> None:
    with claimed_device(tmp_path, ["one"]) as device:
        assert device == "cuda:0"
        assert claim_gpu(tmp_path, ["one"]) is None
    assert claim_gpu(tmp_path, ["one"]) is not None


def test_without_gpus_the_device_is_the_cpu_and_nothing_is_locked(tmp_path: Path) -> None:
    with claimed_device(tmp_path / "locks", []) as device:
        assert device == "cpu"
    assert not (tmp_path / "locks").exists()


def test_where_all_are_taken_the_error_says_so_and_what_helps(tmp_path: Path) -> None:
    claim = claimed(tmp_path, ["one"])
    with (
        pytest.raises(CorrectableError, match=r"--device claim: the one GPU .*--wait"),
        claimed_device(tmp_path, ["one"]),
    ):
        pass
    claim.release()


def test_who_waits_gets_the_gpu_that_becomes_free_and_says_once_that_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [claimed(tmp_path) for _ in GPUS]
    told: list[str] = []
    pauses = iter([None, claims[2].release])

    def pause(_: float) -> None:
        if release := next(pauses):
            release()

    monkeypatch.setattr("kidneyseg.search.gpu_claims.time.sleep", pause)
    with claimed_device(tmp_path, GPUS, wait=True, tell=told.append) as device:
        assert device == "cuda:2"
    assert len(told) == 1
    assert "all 3 GPUs" in told[0]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorrectableError, match=r"file/locks: GPUs cannot be claimed there"):
        claim_gpu(tmp_path / "file" / "locks", GPUS)


def test_no_uuid_leads_out_of_the_folder(tmp_path: Path) -> None:
    claim = claimed(tmp_path / "locks", ["../../x"])
    assert [path.parent for path in tmp_path.rglob("*.lock")] == [tmp_path / "locks"]
    claim.release()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_gpus_has_none_to_claim() -> None:
    assert visible_gpus() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_gpus_have_uuids_of_their_own_and_asking_takes_no_memory_of_them() -> None:
    uuids = visible_gpus()
    assert len(set(uuids)) == len(uuids) == torch.cuda.device_count()
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
