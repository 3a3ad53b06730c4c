"""`kidneyseg evaluate` as a person uses it."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kidneyseg.cli.main import kidneyseg
from kidneyseg.cli.telling import telling
from kidneyseg.ct.splits import read_split
from kidneyseg.evaluation.results import SMALLEST_GROUP

SMALL = (
    "network.filters=4",
    "data.spacing_mm=2.0",
    "data.slice_size=[32, 32]",
    "data.margin_slices=1",
    "training.patience=9",
    "common.pictures=false",
    "common.device=cpu",
    "batch_size=4",
    "learning_rate=0.01",
)


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, two models and their runs."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_data, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, epochs in (("model", 4), ("other", 2)):
            settings = [f"--set={one}" for one in (*SMALL, f"training.max_epochs={epochs}")]
            assert kidneyseg(["train", "--data", "data", "--out", name, *settings]) == 0
    return folder


@pytest.fixture
def place(trained: Path, workplace: Path) -> Path:
    """A current folder of one's own with all of it."""
    shutil.copytree(trained, workplace, dirs_exist_ok=True)
    return workplace


def evaluate(*arguments: str) -> int:
    given = ["--model", "model", "--data", "data", "--set", "common.device=cpu"]
    return kidneyseg(["evaluate", *given, *arguments])


@pytest.mark.usefixtures("place")
def test_validation_is_evaluated_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate() == 0
    told = capsys.readouterr()
    assert told.out.startswith("1 case of validation, whole volumes, full resolution\n")
    for words in ("surface Dice, 1.033 mm", "95 % Hausdorff, mm", "right", "left", "0.9154"):
        assert words in told.out
    assert "intervals" not in told.out  # one case has none
    assert told.err == "cases evaluated: 1\n"


@pytest.mark.usefixtures("place")
def test_that_intervals_of_few_cases_are_too_narrow_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate("--split", "training") == 0
    said = capsys.readouterr().out
    n = int(said.split(" ", 1)[0])
    assert n > 1
    assert f"\nintervals: a bootstrap over {n} cases; of few, too narrow\n" in said


def test_one_json_document_holds_all_measures(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--split", "training", "--json", "--csv", "out.csv") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["split"] == "training"
    assert document["looks_before"] is None
    assert len(document["cases"]) == SMALLEST_GROUP
    kidneys = document["summary"]["kidneys"]
    mean = np.mean([case["kidneys"]["dice"] for case in document["cases"]])
    assert kidneys["dice"]["mean"] == pytest.approx(mean)
    assert list(document["groups"]["slice thickness"]) == ["2 to 4 mm"]
    lines = list(csv.DictReader((place / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["structure"] for line in lines] == ["kidneys", "right", "left"] * 3
    assert float(lines[0]["dice"]) == document["cases"][0]["kidneys"]["dice"]


def test_a_model_is_compared_with_another(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--split", "training", "--json", "--compare", "other") == 0
    document = json.loads(capsys.readouterr().out)
    compared = document["comparison"]["kidneys"]["dice"]
    means = [one["summary"]["kidneys"]["dice"]["mean"] for one in (document, document["other"])]
    assert compared["difference"] == pytest.approx(means[1] - means[0])
    assert evaluate("--split", "training", "--compare", "other") == 0
    assert "Wilcoxon p" in capsys.readouterr().out


def test_clean_up_is_tried_as_predict_does_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["--flips", "--closing-mm", "2", "--min-ml", "0.5", "--largest-two"]
    assert evaluate("--json", *steps) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["clean_up"] == {
        "flips": True,
        "opening_mm": 0,
        "closing_mm": 2,
        "min_ml": 0.5,
        "largest_two": True,
    }
    (case,) = document["cases"]
    scan = f"data/{case['case']}/imaging.nii.gz"
    given = ["predict", "--model", "model", "-i", scan, "-o", "mask.nii.gz", "--device", "cpu"]
    assert kidneyseg([*given, "--json", *steps]) == 0
    (written,) = json.loads(capsys.readouterr().out)["scans"]
    assert case["kidneys"]["predicted_ml"] == pytest.approx(written["volume_ml"])
    assert evaluate("--json") == 0
    (plain,) = json.loads(capsys.readouterr().out)["cases"]
    assert plain["kidneys"]["predicted_ml"] != pytest.approx(written["volume_ml"])
    assert evaluate(*steps) == 0
    told = capsys.readouterr().out
    assert "\nmasks with --flips, --closing-mm 2, --min-ml 0.5, --largest-two\n" in told
    folders = {path.name for path in place.glob("runs/trainings/*/tensorboard/evaluation/*")}
    assert folders == {"validation", "validation+flips+closing-mm-2+min-ml-0.5+largest-two"}


def test_a_look_at_the_test_set_is_written_down_and_a_second_one_asks(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--split", "test") == 0
    assert "looks at this test set before: 0" in capsys.readouterr().err
    ledgers = [next(place.glob("runs/splits/*/ledger.json")), place / "model" / "ledger.json"]
    weights = json.loads((place / "model" / "model.json").read_text(encoding="utf-8"))[
        "weights_sha256"
    ]
    for path in ledgers:
        (look,) = json.loads(path.read_text(encoding="utf-8"))["looks"]
        assert look["models"] == [{"weights_sha256": weights, "study": None, "trial": None}]
    for split in ("test", "all"):
        assert evaluate("--split", split) == 2
        told = capsys.readouterr()
        assert "looked at once before" in told.err
        assert "--again" in told.err
        assert told.out == ""
    assert evaluate("--split", "all", "--again") == 0
    assert "looks at this test set before: 1" in capsys.readouterr().err


def test_the_look_is_written_before_the_first_test_scan_is_read(place: Path) -> None:
    """A scan that cannot be read ends the work, but the look was begun."""
    assert evaluate() == 0  # from here on each file's fingerprint is remembered
    split = read_split(next(place.glob("runs/splits/*/evaluation_data.json")))
    scan = place / "data" / split.test[0] / "imaging.nii.gz"
    status = scan.stat()
    damaged = bytearray(scan.read_bytes())
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    scan.write_bytes(damaged)
    os.utime(scan, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert evaluate("--split", "test") == 2
    assert (place / "model" / "ledger.json").exists()


def test_another_data_folder_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = place / "data" / "case_00001" / "segmentation.nii.gz"
    shutil.copyfile(place / "data" / "case_00002" / "segmentation.nii.gz", labels)
    assert evaluate() == 2
    assert "data: its data is not the model's" in capsys.readouterr().err
    shutil.rmtree(place / "runs")
    assert evaluate("--split", "test") == 2
    assert not (place / "model" / "ledger.json").exists()
    assert not list(place.glob("runs/splits/*"))


def test_pictures_are_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--split", "training", "--pictures", "figures") == 0
    assert capsys.readouterr().err.count("drawn: ") == 4
    for name, panels in (("dice", 1), ("losses", 3)):
        with Image.open(place / "figures" / f"{name}.png") as image:
            assert image.size == (520 * panels, 380)
    with Image.open(place / "figures" / "best.png") as image:
        assert image.size[0] > 600
    assert (place / "figures" / "worst.png").is_file()


def refit(folder: Path) -> None:
    """Let a model folder say that it was trained on validation cases, too."""
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    description["refit"] = {"study": "s", "n_seeds": 3}
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")


def test_a_refitted_models_validation_cases_count_as_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refit(place / "other")
    assert evaluate("--compare", "other") == 2
    assert "--compare was trained on these cases, too" in capsys.readouterr().err
    assert evaluate("--split", "all", "--compare=other", "--json", "--csv", "all.csv") == 0
    document = json.loads(capsys.readouterr().out)
    uses = [[case["split"] for case in one["cases"]] for one in (document, document["other"])]
    assert uses == [
        ["training"] * 3 + ["validation", "test"],
        ["training"] * 4 + ["test"],
    ]
    lines = list(csv.DictReader((place / "all.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["split"] for line in lines[::3]] == [*uses[0], *uses[1]]


def test_curves_that_cannot_be_drawn_are_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(place / "runs" / "trainings")
    assert evaluate("--pictures", "figures") == 0
    told = capsys.readouterr().err
    assert "curves not drawn: no training log of these weights in runs/trainings; " in told
    assert told.count("\ndrawn: ") == 2


def test_where_tensorboard_fails_the_results_are_told_all_the_same(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in place.glob("runs/trainings/*/tensorboard"):
        (folder / "evaluation").write_text("in the way", encoding="utf-8")
    assert evaluate("--csv", "out.csv") == 0
    told = capsys.readouterr()
    assert told.out.startswith("1 case of validation")
    assert "warning: not written for TensorBoard: " in told.err
    assert (place / "out.csv").is_file()


def test_that_tensorboard_failed_is_a_line_of_json_where_json_was_chosen(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in place.glob("runs/trainings/*/tensorboard"):
        (folder / "evaluation").write_text("in the way", encoding="utf-8")
    with telling(as_json=True):
        assert evaluate() == 0
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (warned,) = (line for line in told if "TensorBoard" in line["message"])
    assert warned["level"] == "warning"
    assert warned["message"].startswith("not written for TensorBoard: ")


def test_the_third_writer_lies_beside_the_trainings_log(place: Path) -> None:
    assert not list(place.glob("runs/**/evaluation"))
    assert evaluate() == 0
    (folder,) = place.glob("runs/trainings/*/tensorboard/evaluation/validation")
    events = EventAccumulator(str(folder))
    events.Reload()
    (point,) = events.Scalars("dice")
    description = json.loads((place / "model" / "model.json").read_text(encoding="utf-8"))
    assert point.step == description["validation"]["epoch"]
    assert point.value == pytest.approx(description["validation"]["dice"], abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "tests"], "--split tests: expected training, validation, test, all"),
        (["--set", "data.spacing_mm=3"], "--set data.spacing_mm=3: the model has its own"),
        (["--compare", "data"], "data: no model.json"),
        (["--csv", "data"], "--csv data: a folder; expected a file to write"),
        (["--csv", "model/model.json/out.csv"], "--csv = model/model.json: cannot be made"),
        (["--pictures", "model/model.json"], "--pictures = model/model.json: cannot be made"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_look_is_taken(
    place: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--split", "test", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(place.glob("**/ledger.json"))
