"""The ledger: every look is written down before it is taken, and none is lost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kidneyseg.errors import DataError, ExitCode
from kidneyseg.evaluation.ledger import (
    Ledger,
    LookedBeforeError,
)
from kidneyseg.model.looks import LEDGER, Look, LookedModel, read_looks


def look(day: int, split: str = "a" * 64, weights: str = "w") -> Look:
    model = LookedModel(weights_sha256=weights, study="lr_loss", trial=7)
    return Look(when=f"2026-11-{day:02d}T00:00:00+00:00", split=split, part="test", models=(model,))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    for name in ("split", "model"):
        (tmp_path / name).mkdir()
    return Ledger(split_folder=tmp_path / "split", model_folders=[tmp_path / "model"])


def test_the_first_look_is_written_beside_the_split_and_into_the_model(
    ledger: Ledger, tmp_path: Path
) -> None:
    assert ledger.write(look(1), again=False) == 0
    for name in ("split", "model"):
        assert read_looks(tmp_path / name / LEDGER) == (look(1),)


def test_a_second_look_says_how_many_there_were_and_asks(ledger: Ledger, tmp_path: Path) -> None:
    ledger.write(look(1), again=False)
    with pytest.raises(
        LookedBeforeError, match=r"once before, last on 2026-11-01.*--again"
    ) as told:
        ledger.write(look(2), again=False)
    assert told.value.exit_code == ExitCode.CORRECTABLE
    assert ledger.write(look(2), again=True) == 1
    with pytest.raises(LookedBeforeError, match="2 times before, last on 2026-11-02"):
        ledger.write(look(3), again=False)
    assert read_looks(tmp_path / "split" / LEDGER) == (look(1), look(2))


def test_a_model_knows_of_looks_taken_in_another_runs_folder(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.write(look(1), again=False)
    (tmp_path / "elsewhere").mkdir()
    other = Ledger(split_folder=tmp_path / "elsewhere", model_folders=ledger.model_folders)
    with pytest.raises(LookedBeforeError):
        other.write(look(2), again=False)
    assert not (tmp_path / "elsewhere" / LEDGER).exists()


def test_a_look_with_another_model_is_a_look_too(ledger: Ledger, tmp_path: Path) -> None:
    ledger.write(look(1), again=False)
    (tmp_path / "other").mkdir()
    other = Ledger(split_folder=ledger.split_folder, model_folders=[tmp_path / "other"])
    with pytest.raises(LookedBeforeError):
        other.write(look(2, weights="v"), again=False)


def test_looks_at_another_test_set_do_not_count(ledger: Ledger) -> None:
    ledger.write(look(1), again=False)
    assert ledger.write(look(2, split="b" * 64), again=False) == 0


def test_of_many_writers_at_once_each_is_written_and_one_is_first(
    ledger: Ledger, tmp_path: Path
) -> None:
    def write(day: int) -> int:
        return ledger.write(look(day), again=True)

    with ThreadPoolExecutor(8) as threads:
        before = list(threads.map(write, range(1, 21)))
    assert sorted(before) == list(range(20))
    days = sorted(each.when for each in read_looks(tmp_path / "split" / LEDGER))
    assert days == [look(day).when for day in range(1, 21)]


def test_a_damaged_ledger_is_refused_and_kept(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "split" / LEDGER).write_text('{"looks": [', encoding="utf-8")
    with pytest.raises(DataError, match="not a ledger that this program wrote"):
        ledger.write(look(1), again=True)
    assert (tmp_path / "split" / LEDGER).read_text(encoding="utf-8") == '{"looks": ['


def test_without_a_ledger_the_test_set_stays_sealed(tmp_path: Path) -> None:
    gone = Ledger(split_folder=tmp_path, model_folders=[tmp_path / "file" / "model"])
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="the test set stays sealed"):
        gone.write(look(1), again=False)
