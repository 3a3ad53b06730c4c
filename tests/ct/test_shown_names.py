"""Names of cases as they are shown, and texts that hold neither names nor paths."""

from pathlib import Path

import pytest

from kidneyseg.ct.cases import Case
from kidneyseg.ct.shown_names import AS_THEY_ARE, ShownNames, adopt_pseudonyms, find_shown_names
from kidneyseg.errors import SettingsError
from kidneyseg.pseudonyms import KEY_VARIABLE, load_key, pseudonym
from kidneyseg.settings import Environment


@pytest.fixture(autouse=True)
def _no_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def settings(folder: Path, **data: object) -> Environment:
    """Settings with pseudonyms of a data folder, all in one folder."""
    (folder / "data").mkdir(exist_ok=True)
    return Environment.model_validate(
        {
            "data": {
                "folder": folder / "data",
                "cache": folder / "cache",
                "downsampling": 2,
                "slice_size": (32, 32),
                **data,
            },
            "common": {"runs": folder / "runs", "pseudonyms": True},
        }
    )


def case(folder: Path, name: str, patient: str = "") -> Case:
    place = folder / "data" / name
    scan, labels = place / "imaging.nii.gz", place / "segmentation.nii.gz"
    return Case(name=name, imaging=scan, segmentation=labels, patient=patient)


@pytest.fixture
def names(tmp_path: Path) -> ShownNames:
    """Pseudonyms of four cases; one name begins another, one is short."""
    cases = [
        case(tmp_path, "Adam"),
        case(tmp_path, "Adam Smith", patient="Smith family"),
        case(tmp_path, "p1"),
        Case(name="K7", imaging=tmp_path / "x/EVE_JONES.nii.gz", segmentation=tmp_path / "x/l.nii"),
    ]
    return find_shown_names(cases, settings(tmp_path))


def test_without_pseudonyms_everything_is_shown_as_it_is(tmp_path: Path) -> None:
    environment = settings(tmp_path)
    common = environment.common.model_copy(update={"pseudonyms": False})
    found = find_shown_names(
        [case(tmp_path, "Adam")], environment.model_copy(update={"common": common})
    )
    assert found is AS_THEY_ARE
    assert found.of("Adam") == "Adam"
    assert found.scrub(f"{tmp_path}/data/Adam ... no") == f"{tmp_path}/data/Adam ... no"
    assert not (tmp_path / "runs").exists()


def test_settings_name_cases_as_they_are_shown_and_back(names: ShownNames, tmp_path: Path) -> None:
    own = settings(tmp_path, include=["Adam", "p1"], exclude=["Adam Smith"]).data
    key = load_key(tmp_path / "runs")
    shown = names.shown(own)
    assert shown.include == (pseudonym("Adam", key), pseudonym("p1", key))
    assert shown.exclude == (pseudonym("Adam Smith", key),)
    assert names.own(shown) == own
    assert names.own(own) == own


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no memory for 12 slices", "no memory for 12 slices"),
        ("Adam and Adam Smith: bad", "{Adam} and {Adam Smith}: bad"),
        ("xAdam_0000", "x{Adam}_0000"),
        ("p1: exit code p12", "{p1}: exit code p12"),  # a short name is one only as a word
        ("of Smith family", "of {patient}"),
        ("{folder}/data/Adam/imaging.nii.gz: cut", "[the scan of {Adam}]: cut"),
        ("open('{folder}/data/Adam/notes')", "open('[a path of the data]')"),
        ("{folder}/data/Unlabelled_Bob/imaging.nii: no", "[a path of the data]: no"),
        ("{folder}/cache/Adam-0a1b/images.npy is gone", "[a path of the data] is gone"),
        ("EVE_JONES.nii.gz is no gzip file", "[the scan of {K7}] is no gzip file"),
        ("{folder}/program.py, line 3", "{folder}/program.py, line 3"),
        ("input_value='Adam Smi...gz'\nnext", "[...]\nnext"),
    ],
)
def test_a_text_is_left_without_names_and_paths(
    text: str, expected: str, names: ShownNames, tmp_path: Path
) -> None:
    key = load_key(tmp_path / "runs")
    known = {"folder": tmp_path, "patient": pseudonym("Smith family", key), **names.by_name}
    assert names.scrub(text.format(**known)) == expected.format(**known)


def test_a_relative_folder_hides_its_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = find_shown_names([case(Path(), "Adam")], settings(Path()))
    for text in ("data/Adam/imaging.nii.gz", f"{tmp_path}/data/Adam/imaging.nii.gz"):
        assert names.scrub(text) == f"[the scan of {names.of('Adam')}]"
    assert names.scrub("data of the case") == "data of the case"
    assert names.scrub(f"{tmp_path}/cache/old") == "[a path of the data]"


def test_a_recorded_key_switches_pseudonyms_on(tmp_path: Path, names: ShownNames) -> None:
    environment = settings(tmp_path)
    common = environment.common.model_copy(update={"pseudonyms": False})
    without = environment.model_copy(update={"common": common})
    assert adopt_pseudonyms(without, None, "the model") is without
    assert adopt_pseudonyms(without, names.key, "the model") == environment
    with pytest.raises(SettingsError, match="of the model"):
        adopt_pseudonyms(without, "0" * 64, "the model")
