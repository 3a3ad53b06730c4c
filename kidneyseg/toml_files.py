"""Reading what a person wrote: TOML into typed parts, `--set` values, and files by name.

Every refusal names the file, the key, the wrong value and what was expected.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kidneyseg.errors import SettingsError

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises SettingsError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML ({error})") from error


def validate(model: type[M], values: dict[str, Any], source: str | Path) -> M:
    """Make a typed part of plain values. Raises SettingsError that names `source` and key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{source}: {describe(model, error.errors()[0])}") from error


def describe(model: type[BaseModel], detail: ErrorDetails) -> str:
    """One line for one of pydantic's errors: key, value, expectation."""
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key}; expected one of {', '.join(_keys(model, detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"{key} is missing"
    expected = detail["msg"].removeprefix("Value error, ")
    expected = expected.replace("Input should be ", "expected ")
    if isinstance(detail["input"], dict):
        return f"{key}: {expected}" if key else expected
    return f"{key} = {detail['input']!r}: {expected}"


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` arguments. A value is TOML where it can be, else text.

    Raises SettingsError for one without `=` or for a key given twice.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise SettingsError(f"--set {assignment!r}: expected KEY=VALUE, as in batch_size=8")
        if key in values:
            raise SettingsError(f"--set {assignment!r}: {key} is given twice")
        values[key] = _parse_value(text.strip())
    return values


def find_named_file(kind: str, name: str) -> Path:
    """Find `<kind>/<name>.toml` below the current folder, else as shipped; a path works too.

    Raises SettingsError that lists the names there are.
    """
    if name.endswith(".toml") or "/" in name:
        if Path(name).is_file():
            return Path(name)
        raise SettingsError(f"{name}: no such file")
    folders = (Path(kind), shipped_folder(kind))
    for folder in folders:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise SettingsError(f"{name!r}: no such file in {kind}/; expected a path or {', '.join(known)}")


def shipped_folder(kind: str) -> Path:
    """Where the package's own studies, search spaces or environments lie.

    In a wheel they are inside the package, in a checkout beside it.
    """
    package = Path(__file__).parent
    inside = package / kind
    return inside if inside.is_dir() else package.parent / kind


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the part of `model` at `place`."""
    for name in place:
        field = model.model_fields.get(str(name))
        if field is None or not isinstance(field.annotation, type):
            return []
        if issubclass(field.annotation, BaseModel):
            model = field.annotation
    return list(model.model_fields)
