"""Patients: pseudonyms in what leaves the data folder, and pictures only where they are wanted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kidneyseg.cli.main import kidneyseg, kidneyseg_search
from kidneyseg.runs import Runs
from kidneyseg.search import objective
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import load_study
from kidneyseg.search.trial_order import TrialOrder
from tests.conftest import write_ellipsoid

SURNAMES = ("ABERNATHY", "BLOOMFIELD", "CASTELLANOS", "DRUMMOND", "ELLSWORTH", "FAIRWEATHER")
NAMES = tuple(f"{surname}_JOHN_19{k}0" for k, surname in enumerate(SURNAMES))
LEFT_OUT = NAMES[2]  # by data.exclude
LOCAL = ("splits", "cache", "pseudonyms.key")  # below runs/: they stay with the data
ENVIRONMENT = """
[data]
folder = "data"
downsampling = 2
slice_size = [32, 32]
margin_slices = 1
validation_fraction = 0.5
exclude = ["{left_out}"]
[network]
filters = 4
kernel_size = 3
[training]
max_epochs = 1
[common]
device = "cpu"
pseudonyms = {pseudonyms}
pictures = {pictures}
"""

WriteEnvironment = Callable[..., None]


class Search(NamedTuple):
    """A search and all that may follow it, and what it told programs."""

    folder: Path
    log: str  # of JSON lines
    document: dict[str, Any]  # of evaluate


def write_environment(*, pseudonyms: bool, pictures: bool = True) -> None:
    text = ENVIRONMENT.format(
        left_out=LEFT_OUT, pseudonyms=str(pseudonyms).lower(), pictures=str(pictures).lower()
    )
    Path("machine.toml").write_text(text, encoding="utf-8")


def search(*arguments: str) -> int:
    return kidneyseg_search([*arguments, "--environment", "machine.toml"])


def run(*more: str, n_trials: int = 1) -> int:
    return search("run", "--study", "lr_loss", "--n-trials", str(n_trials), *more)


def gone(order: TrialOrder) -> TrialOrder:
    """The same order with a case whose slices went away: its error names their folder."""
    first, *others = order.training_cases
    lost = first.model_copy(update={"folder": first.folder.with_name(f"{first.folder.name}x")})
    return order.model_copy(update={"training_cases": (lost, *others)})


@pytest.fixture
def machine(workplace: Path) -> Path:
    """A current folder with six patients' scans."""
    for seed, name in enumerate(NAMES):
        write_ellipsoid(workplace / "data" / name, seed)
    return workplace


def walk_through(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Search:
    """Search with a trial that fails first; export, report, evaluate with all that it writes."""
    orders: list[TrialOrder] = []
    build = objective._order

    def order(*given: Any) -> TrialOrder:
        orders.append(build(*given))
        return gone(orders[-1]) if len(orders) == 1 else orders[-1]

    with monkeypatch.context() as patch:
        patch.setattr(objective, "_order", order)
        capsys.readouterr()
        assert run("--log-format", "json") == 0
    log = capsys.readouterr().err
    assert len(orders) == 2
    assert '"state": "FAIL"' in log
    assert search("export", "--study", "lr_loss", "--out", "best", "--data", "data") == 0
    assert ", as recorded" in capsys.readouterr().out
    assert search("report", "--study", "lr_loss", "--out", "report.html") == 0
    capsys.readouterr()
    where = ["--model", "best", "--split", "all", "--csv", "out/cases.csv", "--json"]
    drawn = ["--pictures", "out"]
    assert kidneyseg(["evaluate", *where, *drawn, "--environment", "machine.toml"]) == 0
    return Search(folder, log, json.loads(capsys.readouterr().out))


def files(folder: Path) -> list[Path]:
    """All files that leave the data folder."""
    local = [folder / "data", folder / "machine.toml", *(folder / "runs" / each for each in LOCAL)]
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if not any(path.is_relative_to(each) for each in local)]


def reason_of_failure() -> str:
    """What the database says of the first trial."""
    storage = open_storage(Runs(Path("runs")).database_url)
    trial = load_study(storage, "lr_loss").optuna.get_trials(deepcopy=False)[0]
    storage.engine.dispose()
    assert "Traceback" in trial.user_attrs["traceback"]
    return str(trial.user_attrs["outcome"])


def naming(folder: Path) -> list[str]:
    """The files whose path or content holds a patient's name."""
    return [
        str(path.relative_to(folder))
        for path in files(folder)
        if any(name in str(path.relative_to(folder)) for name in SURNAMES)
        or any(name.encode() in path.read_bytes() for name in SURNAMES)
    ]


def test_no_name_leaves_the_data_folder_with_pseudonyms(
    machine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_environment(pseudonyms=True)
    found = walk_through(machine, capsys, monkeypatch)
    confirmed = ["--study", "lr_loss", "--top", "1", "--seeds", "2", "--refit", "final"]
    assert search("confirm", *confirmed) == 0
    hidden = ["--environment", "machine.toml"]
    assert kidneyseg(["train", *hidden, "--out", "trained"]) == 0
    # Model and study decide: without the setting they keep their pseudonyms.
    write_environment(pseudonyms=False)
    again = ["--repeat", "trained", "--data", "data", "--out", "again"]
    assert kidneyseg(["train", *again, "--set", "common.device=cpu"]) == 0
    compared = ["--model", "best", "--compare", "trained", "--csv", "out/compared.csv"]
    assert kidneyseg(["evaluate", *compared, *hidden]) == 0
    assert search("worker", "--study", "lr_loss") == 0
    told = capsys.readouterr().out
    assert naming(machine) == []
    assert not [name for name in SURNAMES if name in found.log + json.dumps(found.document) + told]
    # What should hold pseudonyms does.
    cases = [case["case"] for case in found.document["cases"]]
    assert len(cases) == 5
    assert all(case.startswith("case-") for case in cases)
    described = json.loads((machine / "best" / "model.json").read_text(encoding="utf-8"))
    shown = list(described["validation"]["dice_of_case"])
    assert len(shown) == 2
    assert shown == sorted(shown)  # not in the order of the names
    assert set(shown) <= set(cases)
    for path in ("report.html", "final/README.md", "out/compared.csv", "runs/studies.db*"):
        content = b"".join(each.read_bytes() for each in machine.glob(path))
        assert all(name.encode() in content for name in shown), path
    assert "No such file or directory: '[a path of the data]'" in reason_of_failure()
    pictures = {path.stem for path in machine.glob("runs/lr_loss/*/pictures/*.png")}
    assert pictures == set(shown)
    assert described["preprocessing"]["exclude"][0].startswith("case-")
    # What stays with the data knows the cases.
    (split,) = machine.glob("runs/splits/*/evaluation_data.json")
    assert sum(name in split.read_text(encoding="utf-8") for name in NAMES) == 5


def test_names_are_everywhere_without_pseudonyms(
    machine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above looks through can hold names, and would."""
    write_environment(pseudonyms=False)
    found = walk_through(machine, capsys, monkeypatch)
    named = naming(machine)
    for name in ("best/model.json", "best/README.md", "report.html", "out/cases.csv"):
        assert name in named
    assert [name for name in named if name.startswith("runs/studies.db")]
    assert any(name in reason_of_failure() for name in NAMES)
    assert [name for name in named if "tfevents" in name]
    assert [name for name in named if name.endswith(".png") and "pictures" in name]
    assert [name for name in named if name.startswith("runs/artifacts/")]
    assert any(name in found.log for name in SURNAMES)
    assert found.document["cases"][0]["case"] in NAMES


def refused(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a refusal; nothing was trained."""
    assert code == 2
    assert not list(Path("runs").glob("*/trial_*"))
    (line,) = [each for each in capsys.readouterr().err.splitlines() if ": " in each]
    return line


@pytest.fixture
def submitted(machine: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A study with pseudonyms in the database, nothing trained."""
    write_environment(pseudonyms=True)
    assert search("submit", "--study", "lr_loss", "--n-trials", "1") == 0
    capsys.readouterr()
    return machine


@pytest.mark.parametrize("command", [("worker", "--study", "lr_loss"), ("run",)])
@pytest.mark.usefixtures("submitted")
def test_another_key_is_refused_before_anything_is_trained(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (Path("runs") / "pseudonyms.key").write_text("ab" * 32, encoding="utf-8")
    line = refused(run() if command == ("run",) else search(*command), capsys)
    assert "another key than that of the pseudonyms of study 'lr_loss'" in line
    assert "KIDNEYSEG_PSEUDONYM_KEY_FILE" in line


@pytest.mark.parametrize("command", [("worker", "--study", "lr_loss"), ("run",)])
@pytest.mark.usefixtures("submitted")
def test_a_missing_key_is_refused_and_not_made_anew(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key = Path("runs") / "pseudonyms.key"
    key.rename("kept.key")
    line = refused(run() if command == ("run",) else search(*command), capsys)
    assert "pseudonyms.key is not there; expected its own key" in line
    assert not key.exists()


@pytest.mark.usefixtures("submitted")
def test_a_study_with_pseudonyms_is_not_run_without(capsys: pytest.CaptureFixture[str]) -> None:
    write_environment(pseudonyms=False)
    line = refused(run(), capsys)
    assert "was begun with pseudonyms" in line
    assert "--set common.pseudonyms=true" in line


@pytest.mark.usefixtures("machine")
def test_a_study_without_pseudonyms_is_not_joined_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_environment(pseudonyms=False)
    assert search("submit", "--study", "lr_loss", "--n-trials", "1") == 0
    capsys.readouterr()
    write_environment(pseudonyms=True)
    assert "was begun without pseudonyms" in refused(run(), capsys)
    code = search("worker", "--study", "lr_loss")
    assert "was begun without pseudonyms" in refused(code, capsys)
    assert not (Path("runs") / "pseudonyms.key").exists()


def test_a_machine_with_a_copy_of_the_key_joins(
    submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(submitted / "runs" / "pseudonyms.key", submitted / "copy.key")
    monkeypatch.setenv("KIDNEYSEG_PSEUDONYM_KEY_FILE", str(submitted / "copy.key"))
    assert search("worker", "--study", "lr_loss") == 0
    assert naming(submitted) == []
    assert not (submitted / "runs" / "pseudonyms.key").exists()


def test_a_service_says_nothing_of_files_in_its_json_log(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (submitted / "data" / NAMES[0] / "imaging.nii.gz").unlink()
    assert search("worker", "--log-format", "json") == 0
    told = capsys.readouterr().err
    assert "left out: study lr_loss: its data cannot be used here" in told
    assert NAMES[0] not in told
    assert search("worker") == 0
    assert NAMES[0] in capsys.readouterr().err  # a person is told of files of their own


def own_part(page: Path) -> str:
    """A report without its libraries."""
    return page.read_text(encoding="utf-8").split("<script>", 1)[0]


def test_pictures_that_are_switched_off_are_nowhere(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_environment(pseudonyms=False, pictures=True)
    assert run("--name", "with") == 0
    assert list(machine.glob("runs/with/**/*.png"))
    assert search("report", "--study", "with", "--out", "with.html") == 0
    assert "data:image/png" in own_part(machine / "with.html")
    write_environment(pseudonyms=False, pictures=False)
    assert search("report", "--study", "with", "--out", "with.html") == 0
    shutil.rmtree(machine / "runs" / "with")
    shutil.rmtree(Runs(machine / "runs").artifacts)
    assert run("--name", "without") == 0
    assert search("report", "--study", "without", "--out", "without.html") == 0
    assert search("export", "--study", "without", "--out", "best") == 0
    for path in files(machine):
        if path.suffix != ".html":
            assert b"\x89PNG" not in path.read_bytes(), path  # TensorBoard's are PNG, too
    for page in ("with.html", "without.html"):
        assert "data:image/png" not in own_part(machine / page)
    capsys.readouterr()
    drawn = ["--model", "best", "--pictures", "out", "--environment", "machine.toml"]
    assert kidneyseg(["evaluate", *drawn]) == 2
    assert "common.pictures = false switches them off" in capsys.readouterr().err
