"""What a study will take on disk: the size of real files, and refusals with numbers."""

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from kidneyseg.errors import CorrectableError
from kidneyseg.network import build_quicknat
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.disk import check_disk, estimate_disk, largest_network, model_bytes
from kidneyseg.settings import CommonSettings, Environment, NetworkSettings


class Usage(NamedTuple):
    total: int
    used: int
    free: int


REPORT = NetworkSettings()


def test_a_model_takes_what_its_file_takes(tmp_path: Path) -> None:
    for changes in (
        {"filters": 16, "kernel_size": 3},
        {"filters": 8, "activation": "prelu", "bottleneck": "dense"},
    ):
        settings = NetworkSettings.model_validate(changes)
        state = build_quicknat(settings, dropout=0.1).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "file")
        size = (tmp_path / "file").stat().st_size
        assert 0 <= size - model_bytes(settings) < 100_000


def test_the_reports_model_takes_four_bytes_a_parameter() -> None:
    """3,331,407 parameters; batch norm's statistics are a hundredth of that at most."""
    assert 4 * 3_331_407 < model_bytes(REPORT) < 1.01 * 4 * 3_331_407


def test_the_largest_network_is_that_of_all_combinations(
    build_plan: Callable[..., StudyPlan], environment: Environment
) -> None:
    ranges: dict[str, list[Any]] = {
        "filters": [4, 8],
        "kernel_size": [5, 1, 3],
        "squeeze_excitation": ["sse", "csse", "none"],
        "output_channels": [1, 2],
    }
    space = {
        f"network.{name}": {"type": "categorical", "choices": values}
        for name, values in ranges.items()
    }
    plan = build_plan(space=space, start_points=())
    sizes = [
        model_bytes(NetworkSettings.model_validate(dict(zip(ranges, values, strict=True))))
        for values in product(*ranges.values())
    ]
    found = largest_network(plan.definition(environment, "d" * 64, "e" * 64))
    assert model_bytes(found) == max(sizes)
    assert len(set(sizes)) == len(sizes)


def test_a_study_of_one_network_has_no_larger_one(
    build_plan: Callable[..., StudyPlan], environment: Environment
) -> None:
    definition = build_plan().definition(environment, "d" * 64, "e" * 64)
    assert largest_network(definition) == environment.network


def test_the_need_is_that_of_kept_models_and_running_trials() -> None:
    """k models; W x 2 folders of a model and 2 x 3 weights; the artifacts' models beside."""
    model = model_bytes(REPORT)
    need = estimate_disk(CommonSettings(keep_best=5), REPORT, n_workers=4)
    assert need.runs == pytest.approx((5 + 4 * 2 * 7) * model, rel=0.01)
    assert need.artifacts == pytest.approx((5 + 4) * model, rel=0.01)
    assert need.total == need.runs + need.artifacts
    assert estimate_disk(CommonSettings(artifacts="s3://kidneys"), REPORT, 4).artifacts == 0


def test_a_checkpoint_takes_no_more_than_estimated(tmp_path: Path) -> None:
    settings = NetworkSettings(filters=8, kernel_size=3)
    network = build_quicknat(settings, dropout=0.1)
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    tensors = {f"n.{name}": tensor for name, tensor in network.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"o.{number}.{name}": tensor for name, tensor in state.items()}
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "file")
    size = (tmp_path / "file").stat().st_size
    common = CommonSettings(keep_best=1)
    need = [estimate_disk(common, settings, n) for n in (1, 2)]
    of_a_worker = need[1].runs - need[0].runs
    folder = 2 * size + model_bytes(settings)
    assert 0.2 * of_a_worker < 2 * folder <= of_a_worker
    assert 3 * size + 2 * model_bytes(settings) <= of_a_worker  # while the third is written


def test_what_fits_is_let_through(tmp_path: Path) -> None:
    common = CommonSettings(runs=tmp_path / "runs", max_disk_gb=1)
    check_disk(common, "tiny", NetworkSettings(filters=4), 1)


def test_a_ceiling_below_the_need_is_refused_with_numbers(tmp_path: Path) -> None:
    common = CommonSettings(runs=tmp_path / "runs", max_disk_gb=0.25)
    with pytest.raises(CorrectableError) as caught:
        check_disk(common, "tiny", REPORT, 4)
    # 70 times 13.35 MB, and 0.1 MB for what is beside the weights
    assert str(caught.value) == (
        "common.max_disk_gb = 0.25: 5 kept models and 4 workers need up to 0.942 GB for models and "
        "checkpoints; expected a higher ceiling, a smaller common.keep_best, or fewer workers"
    )


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a disk have so many free bytes."""

    def set_room(free: int) -> None:
        def usage(_path: Any) -> Usage:
            return Usage(total=free, used=0, free=free)

        monkeypatch.setattr(shutil, "disk_usage", usage)

    return set_room


def test_a_disk_without_room_is_refused_with_numbers(
    tmp_path: Path, room: Callable[[int], None]
) -> None:
    room(200_000_000)
    common = CommonSettings(runs=tmp_path / "runs")
    with pytest.raises(CorrectableError) as caught:
        check_disk(common, "tiny", REPORT, 1)
    assert str(caught.value) == (
        f"{tmp_path / 'runs'}: 0.2 GB are free, and 5 kept models and 1 worker need up to 0.336 GB "
        "there; expected more room, a smaller common.keep_best, or fewer workers"
    )


def test_what_the_study_has_already_counts_as_room(
    tmp_path: Path, room: Callable[[int], None]
) -> None:
    common = CommonSettings(runs=tmp_path / "runs")
    network = NetworkSettings(filters=4)
    need = estimate_disk(common, network, 1).total
    room(need - 1)
    with pytest.raises(CorrectableError, match="are free"):
        check_disk(common, "tiny", network, 1)
    model = tmp_path / "runs" / "tiny" / "trial_00000" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"x")
    check_disk(common, "tiny", network, 1)
