"""From a data folder to training and validation slices; the test cases stay sealed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.ct import cache as cache_module
from kidneyseg.ct.cases import Case, CaseVolumes, read_case
from kidneyseg.ct.development import find_development_cases
from kidneyseg.ct.splits import read_split
from kidneyseg.errors import DataError
from kidneyseg.runs import Runs
from kidneyseg.settings import CommonSettings, Environment

N_CASES = 5  # 3 / 1 / 1


@pytest.fixture
def data(tmp_path: Path, write_case: Callable[..., Case]) -> Path:
    for number in range(N_CASES):
        write_case(f"case_{number:05d}", seed=number)
    return tmp_path / "data"


@pytest.fixture
def environment(tmp_path: Path, data: Path) -> Environment:
    return Environment.model_validate(
        {
            "data": {
                "folder": data,
                "downsampling": 2,
                "slice_size": (16, 16),
                "margin_slices": 1,
            },
            "network": {"input_slices": 3},
            "common": {"runs": tmp_path / "runs"},
        }
    )


def test_the_test_cases_are_never_read(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def remember(case: Case, *labels: tuple[int, ...]) -> CaseVolumes:
        read.append(case.name)
        return read_case(case, *labels)

    monkeypatch.setattr(cache_module, "read_case", remember)
    found = find_development_cases(environment)
    assert read == []
    list(found.prepare())
    assert sorted(read) == sorted(found.split.training + found.split.validation)
    assert len(found.split.test) == 1


def test_slices_go_where_their_case_goes(environment: Environment) -> None:
    found = find_development_cases(environment)
    training, validation = found.datasets(list(found.prepare()))
    assert training.case_names == found.split.training
    assert validation.case_names == found.split.validation
    assert (len(training), len(validation)) == (3 * 5, 5)
    assert training[0].images.shape == (1, 3, 16, 16)


def test_the_split_is_written_with_the_runs(environment: Environment, tmp_path: Path) -> None:
    found = find_development_cases(environment)
    path = Runs(tmp_path / "runs").evaluation_data(found.split.fingerprint)
    assert read_split(path) == found.split
    assert json.loads(path.read_text(encoding="utf-8"))["test"] == list(found.split.test)
    assert found.cache.folder == tmp_path / "runs" / "cache"


def test_the_same_folder_again_is_the_same(environment: Environment) -> None:
    assert find_development_cases(environment).split == find_development_cases(environment).split


def test_a_cache_of_ones_own_is_used(environment: Environment, tmp_path: Path) -> None:
    data = environment.data.model_copy(update={"cache": tmp_path / "disk"})
    found = find_development_cases(environment.model_copy(update={"data": data}))
    prepared = next(iter(found.prepare()))
    assert prepared.folder.parent == tmp_path / "disk"
    assert not (tmp_path / "runs" / "cache").exists()


def test_a_read_only_data_folder_is_enough(environment: Environment, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [data, *data.rglob("*")]}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = find_development_cases(environment)
    assert len(list(found.prepare())) == N_CASES - 1
    assert {path: path.stat().st_mtime_ns for path in [data, *data.rglob("*")]} == before
    for path in before:
        path.chmod(0o755)


def test_changed_data_under_the_same_names_is_noticed(
    environment: Environment, write_case: Callable[..., Case]
) -> None:
    find_development_cases(environment)
    changed = write_case("case_00002", seed=99)
    os.utime(changed.imaging, ns=(0, 0))
    with pytest.raises(DataError, match=r"json: the data folder has changed since"):
        find_development_cases(environment)


def test_no_data_folder_is_said(environment: Environment) -> None:
    data = environment.data.model_copy(update={"folder": None})
    with pytest.raises(DataError, match="no data folder: give --data"):
        find_development_cases(environment.model_copy(update={"data": data}))


def test_a_fold_validates_on_its_own_cases_alone(environment: Environment) -> None:
    data = environment.data.model_copy(update={"folds": 2, "fold": 1})
    found = find_development_cases(environment.model_copy(update={"data": data}))
    first, second = found.folds()
    assert second == found.split
    assert first.validation == second.training
    assert first.training == second.validation
    assert first.test == second.test


def test_without_folds_there_is_one_split(environment: Environment) -> None:
    found = find_development_cases(environment)
    assert found.folds() == [found.split]


def test_a_fold_of_nothing_is_refused(environment: Environment) -> None:
    data = environment.data.model_copy(update={"fold": 1})
    with pytest.raises(DataError, match=r"data\.fold = 1: expected data\.folds"):
        find_development_cases(environment.model_copy(update={"data": data}))


def test_a_file_of_nnunets_decides_the_split(environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(
        json.dumps([{"train": ["case_00004", "case_00002"], "val": ["case_00000"]}]),
        encoding="utf-8",
    )
    data = environment.data.model_copy(update={"splits_file": path})
    found = find_development_cases(environment.model_copy(update={"data": data}))
    assert found.split.training == ("case_00002", "case_00004")
    assert found.split.validation == ("case_00000",)
    assert found.split.test == ("case_00001", "case_00003")


def test_a_file_that_leaves_no_test_case_is_warned_of(
    environment: Environment, tmp_path: Path
) -> None:
    assert find_development_cases(environment).warning is None
    path = tmp_path / "splits_final.json"
    names = [f"case_{number:05d}" for number in range(N_CASES)]
    path.write_text(json.dumps([{"train": names[1:], "val": names[:1]}]), encoding="utf-8")
    data = environment.data.model_copy(update={"splits_file": path})
    common = CommonSettings(runs=tmp_path / "elsewhere")
    found = find_development_cases(Environment(data=data, common=common))
    assert found.warning == "data.splits_file names all cases: none is left for the test"


def test_a_case_left_out_is_in_no_split(environment: Environment) -> None:
    data = environment.data.model_copy(update={"exclude": ("case_00003",)})
    split = find_development_cases(environment.model_copy(update={"data": data})).split
    names = split.training + split.validation + split.test
    assert sorted(names) == ["case_00000", "case_00001", "case_00002", "case_00004"]
    elsewhere = CommonSettings(runs=environment.common.runs / "elsewhere")
    whole = environment.model_copy(update={"common": elsewhere})
    assert split.data != find_development_cases(whole).split.data
