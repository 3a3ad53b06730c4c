"""Reading what a person wrote: TOML into typed parts, `--set` values, and files by name.

Every refusal names the file, the key, the wrong value and what was expected.
"""

import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
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
    path, known = _place(model, detail["loc"])
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key}; expected one of {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{key} is missing"
    if detail["type"] == "union_tag_not_found":
        discriminator = detail["ctx"]["discriminator"].strip("'")
        return f"{key}.{discriminator} is missing"
    if detail["type"] == "tuple_type":
        return f"{key} = {detail['input']!r}: expected a list{_as_list(detail['input'])}"
    expected = detail["msg"].removeprefix("Value error, ")
    expected = expected.replace("Input should be ", "expected ")
    if not key or isinstance(detail["input"], dict):
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


def _as_list(value: object) -> str:
    """What a person who gave no list may have meant; a shell takes the quotes out of one."""
    if isinstance(value, str):
        items: list[object] = [item.strip(" \"'") for item in value.strip("[]").split(",")]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        items = [value]
    else:
        return ""
    return f", as in {json.dumps(items)}"


def _place(
    model: type[BaseModel], location: Sequence[int | str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The key that a file has at an error's location, and the keys it may have there."""
    if not location:
        return (), ()
    name, *rest = location
    field = model.model_fields.get(str(name))
    inner = _part(field, rest[0]) if field is not None and rest else None
    if field is None or inner is None:
        return tuple(str(each) for each in location), tuple(model.model_fields)
    # Where a part is one of several, the location names which one; no file does.
    key, known = _place(inner, rest if field.discriminator is None else rest[1:])
    return (str(name), *key), known


def _part(field: FieldInfo, tag: int | str) -> type[BaseModel] | None:
    """The part that a field holds; where it is one of several, the one that `tag` names."""
    if field.discriminator is None:
        kind: Any = field.annotation
        return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    kinds: tuple[type[BaseModel], ...] = get_args(field.annotation)
    for each in kinds:
        if tag in get_args(each.model_fields[str(field.discriminator)].annotation):
            return each
    return None
