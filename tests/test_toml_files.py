"""What a person wrote: every refusal names file, key, value and what was expected."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from kidneyseg.errors import SettingsError
from kidneyseg.settings import Environment, Part, TrainingSettings
from kidneyseg.toml_files import (
    find_named_file,
    parse_assignments,
    read_toml,
    shipped_folder,
    validate,
)

DATA = {"downsampling": 2, "slice_size": [64, 64]}


class Apple(Part):
    kind: Literal["apple"]
    n_seeds: int = Field(default=5, ge=0)


class Pear(Part):
    kind: Literal["pear"]


class Basket(Part):
    fruit: Annotated[Apple | Pear, Field(discriminator="kind")]
    sizes: tuple[int, int] = (1, 1)


def refusal(model: type[Part], values: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        validate(model, values, "some.toml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_is_read_as_toml(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[data]\nfolder = "größe"\n', encoding="utf-8")
    assert read_toml(path) == {"data": {"folder": "größe"}}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"a\.toml: cannot be read \(No such file"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("content", [b"a = ", b"a = 1\na = 2\n", b"\xff\xfe"])
def test_what_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"a\.toml: not TOML \("):
        read_toml(path)


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        (Environment, {}, "some.toml: data is missing"),
        (
            Environment,
            {"data": DATA, "training": {"patence": 2}},
            (
                "some.toml: unknown key training.patence; expected one of "
                f"{', '.join(TrainingSettings.model_fields)}"
            ),
        ),
        (
            Environment,
            {"data": DATA, "dta": {}},
            (
                "some.toml: unknown key dta; expected one of data, network, training, evaluation, "
                "common"
            ),
        ),
        (
            Environment,
            {"data": DATA, "training": {"max_epochs": 0}},
            "some.toml: training.max_epochs = 0: expected greater than or equal to 1",
        ),
        (
            Environment,
            {"data": {**DATA, "slice_size": [64, "x"]}},
            (
                "some.toml: data.slice_size.1 = 'x': expected a valid integer, unable to parse "
                "string as an integer"
            ),
        ),
        *(
            (
                Environment,
                {"data": {**DATA, key: given}},
                f"some.toml: data.{key} = {given!r}: expected a list{example}",
            )
            for key, given, example in (
                ("exclude", "case_00000", ', as in ["case_00000"]'),
                ("exclude", "[case_00000, case_00001]", ', as in ["case_00000", "case_00001"]'),
                ("kidney_labels", 1, ", as in [1]"),
                ("exclude", True, ""),
            )
        ),
        (
            Environment,
            {"data": {"slice_size": [64, 64]}},
            "some.toml: data: give exactly one of downsampling and spacing_mm",
        ),
        (
            Environment,
            {"data": DATA, "network": {"activation": "gelu"}},
            "some.toml: network.activation = 'gelu': expected 'relu' or 'prelu'",
        ),
        (Basket, {"fruit": {}}, "some.toml: fruit.kind is missing"),
        (
            Basket,
            {"fruit": {"kind": "apple", "seeds": 3}},
            "some.toml: unknown key fruit.seeds; expected one of kind, n_seeds",
        ),
        (
            Basket,
            {"fruit": {"kind": "apple", "n_seeds": -1}},
            "some.toml: fruit.n_seeds = -1: expected greater than or equal to 0",
        ),
    ],
)
def test_a_refusal_names_file_key_value_and_expectation(
    model: type[Part], values: dict[str, Any], expected: str
) -> None:
    assert refusal(model, values) == expected


def test_an_unknown_kind_of_part_is_refused_with_the_kinds_there_are() -> None:
    message = refusal(Basket, {"fruit": {"kind": "plum"}})
    assert message.startswith("some.toml: fruit: ")
    for word in ("plum", "kind", "apple", "pear"):
        assert f"'{word}'" in message


def test_assignments_are_toml_where_they_can_be_and_text_elsewhere() -> None:
    given = ["a=1", "b = 1e-3", "c=true", "d=[1, 2]", "e=relu", 'f="1"', "g=a=b", "h="]
    assert parse_assignments(given) == {
        "a": 1,
        "b": 0.001,
        "c": True,
        "d": [1, 2],
        "e": "relu",
        "f": "1",
        "g": "a=b",
        "h": "",
    }


@pytest.mark.parametrize("given", ["batch_size", "=8", " = 8", ""])
def test_an_assignment_without_key_or_value_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="expected KEY=VALUE"):
        parse_assignments([given])


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"--set 'a =2': a is given twice"):
        parse_assignments(["a=1", "a =2"])


def test_a_file_below_the_current_folder_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_named_file("studies", "lr_loss") == shipped_folder("studies") / "lr_loss.toml"
    mine = tmp_path / "studies" / "lr_loss.toml"
    mine.parent.mkdir()
    mine.touch()
    assert find_named_file("studies", "lr_loss").resolve() == mine


def test_a_path_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "mine.toml", tmp_path / "no_suffix"):
        path.touch()
    assert find_named_file("studies", "mine.toml") == Path("mine.toml")
    assert find_named_file("studies", "./no_suffix") == Path("no_suffix")


@pytest.mark.parametrize("name", ["mine.toml", "folder/mine"])
def test_a_path_that_is_not_there_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=f"{name}: no such file"):
        find_named_file("studies", name)


def test_an_unknown_name_is_refused_with_the_names_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"'laptop': .*expected a path or cluster, local"):
        find_named_file("environments", "laptop")
