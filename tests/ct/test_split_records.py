"""A case that one split keeps for the test is no other split's to train on, in one runs folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.cli.main import kidneyseg
from kidneyseg.ct.cases import Case
from kidneyseg.ct.development import find_development_cases
from kidneyseg.ct.splits import Split, read_split
from kidneyseg.errors import DataError
from kidneyseg.runs import Runs
from kidneyseg.settings import Environment

WriteCase = Callable[..., Case]
N_CASES = 8  # 5 / 1 / 2


@pytest.fixture
def data(tmp_path: Path, write_case: WriteCase) -> Path:
    for number in range(N_CASES):
        write_case(f"case_{number:05d}", seed=number)
    return tmp_path / "data"


@pytest.fixture
def split(tmp_path: Path, data: Path) -> Callable[..., Split]:
    """Split the cases and write it down, with some settings changed."""

    def make(folder: Path = data, runs: str = "runs", **changed: object) -> Split:
        settings = {"folder": folder, "downsampling": 2, "slice_size": (16, 16), **changed}
        environment = {"data": settings, "common": {"runs": tmp_path / runs}}
        return find_development_cases(Environment.model_validate(environment)).split

    return make


def recorded(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("runs/splits/*/evaluation_data.json"))


def test_cases_that_are_added_open_no_test_case(
    split: Callable[..., Split], write_case: WriteCase, tmp_path: Path
) -> None:
    first = split()
    for number in range(100, 112):
        write_case(f"case_{number:05d}", seed=number)
    opened = set(first.test) - set(split(runs="elsewhere").test)
    assert opened  # else this test shows nothing
    with pytest.raises(DataError) as caught:
        split()
    (path,) = recorded(tmp_path)  # the other was not written
    words = str(caught.value)
    assert words.startswith(f"{path}: {len(opened)} of its test cases ({', '.join(sorted(opened))}")
    assert "or name another runs folder (common.runs)" in words
    assert "\n" not in words


def test_a_removed_case_opens_no_test_case(split: Callable[..., Split], data: Path) -> None:
    first = split()
    shutil.rmtree(data / first.training[0])
    opened = set(first.test) - set(split(runs="elsewhere").test)
    assert opened  # else this test shows nothing
    with pytest.raises(DataError, match=f"1 of its test cases \\({opened.pop()}\\) would now be"):
        split()


def test_a_case_that_leaves_all_test_cases_sealed_may_go(
    split: Callable[..., Split], data: Path, tmp_path: Path
) -> None:
    first = split()
    path = tmp_path / "splits_final.json"
    names = [*first.training[1:], *first.validation]
    path.write_text(json.dumps([{"train": names[1:], "val": names[:1]}]), encoding="utf-8")
    shutil.rmtree(data / first.training[0])
    assert split(splits_file=path).test == first.test
    assert len(recorded(tmp_path)) == 2


@pytest.mark.parametrize("changed", [{"split_seed": 5}, {"test_fraction": 0.13}])
def test_settings_that_move_test_cases_are_refused(
    split: Callable[..., Split], changed: dict[str, object]
) -> None:
    first = split()
    assert not set(first.test) <= set(split(runs="elsewhere", **changed).test)
    with pytest.raises(DataError, match="would now be used for training or validation"):
        split(**changed)


def test_folds_share_a_test_set(split: Callable[..., Split], tmp_path: Path) -> None:
    tests = {split(folds=3, fold=fold).test for fold in range(3)}
    assert tests == {split().test}
    assert len(recorded(tmp_path)) >= 3


def test_a_case_under_another_name_is_found(split: Callable[..., Split], data: Path) -> None:
    first = split()
    (data / first.test[0]).rename(data / "renamed")
    moved = split(runs="elsewhere", split_seed=4)
    assert "renamed" not in moved.test  # else this test shows nothing
    with pytest.raises(DataError, match=r"of its test cases \(.*renamed.*\) would"):
        split(split_seed=4)


def test_another_data_set_with_the_same_names_has_a_split_of_its_own(
    split: Callable[..., Split], write_case: WriteCase, tmp_path: Path
) -> None:
    first = split()
    for number in range(20):
        write_case(f"case_{number:05d}", seed=1000 + number, data=tmp_path / "other")
    second = split(tmp_path / "other", split_seed=5)
    assert set(first.test) & {*second.training, *second.validation}  # by name alone
    assert len(recorded(tmp_path)) == 2


def test_a_split_of_an_earlier_release_takes_the_scans_in(
    split: Callable[..., Split], tmp_path: Path
) -> None:
    first = split()
    (path,) = recorded(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    scans = content.pop("scans")
    assert sorted(scans) == sorted(first.training + first.validation + first.test)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="would now be used"):  # the same data: by name
        split(split_seed=5)
    assert split() == first
    assert read_split(path) == first
    assert json.loads(path.read_text(encoding="utf-8"))["scans"] == scans


def test_the_command_ends_before_anything_is_prepared(
    split: Callable[..., Split], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = split()
    command = ["prepare", str(data), "--set", f"common.runs={tmp_path / 'runs'}"]
    assert kidneyseg([*command, "--set", "data.split_seed=5"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert first.test[0] in captured.err
    assert not list(Runs(tmp_path / "runs").folder.glob("cache/case_*"))
