"""A table of the keys of a part that people write: values, default, meaning."""

from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kidneyseg.errors import SettingsError
from kidneyseg.reference.markdown import code, table

NAMES = {int: "whole number", float: "number", bool: "yes or no", str: "text", Path: "path"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}
SIGNS = {Gt: "above", Ge: "from", Lt: "below", Le: "up to"}


def fields_table(part: type[BaseModel]) -> str:
    """The keys of a part in a Markdown table. Raises SettingsError for one without a meaning."""
    rows = (field_row(part, name, field) for name, field in part.model_fields.items())
    return table(("key", "values", "default", "meaning"), rows)


def field_row(part: type[BaseModel], name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    """Key, values, default and meaning of one field."""
    if not field.description:
        raise SettingsError(
            f"{part.__name__}.{name} has no meaning; expected a docstring on the line below it"
        )
    values = ", ".join([values_words(field.annotation), *bounds(field)])
    return code(name), values, default_words(field), " ".join(field.description.split())


def values_words(annotation: Any) -> str:
    """Which values an annotation lets through, in words."""
    if annotation in NAMES:
        return NAMES[annotation]
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind in (Union, UnionType):
        words = [values_words(each) for each in inner if each is not NoneType]
        return " or ".join(dict.fromkeys(words))
    if kind is Literal:
        return " or ".join(code(as_toml(value)) for value in inner)
    if kind is tuple:
        number = "" if Ellipsis in inner else f"{len(inner)} "
        return f"list of {number}{PLURALS.get(inner[0], 'tables')}"
    return "table"


def bounds(field: FieldInfo) -> Iterator[str]:
    """The ends of a field's range, in words."""
    for limit in field.metadata:
        for kind, word in SIGNS.items():
            if isinstance(limit, kind):
                yield f"{word} {getattr(limit, kind.__name__.lower())}"


def default_words(field: FieldInfo) -> str:
    """A default as a file would have it."""
    if field.default is PydanticUndefined:
        return "must be given"
    if field.default is None:
        return "none"
    if isinstance(field.default, BaseModel):
        named = getattr(field.default, "name", None)
        return code(as_toml(named)) if named else "its own"
    return code(as_toml(field.default))


def as_toml(value: Any) -> str:
    """A value as TOML writes it."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.4g}" if value % 1 else f"{value:.1f}"
        case str() | Path():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(as_toml(each) for each in value)}]"
        case dict():
            return "{}"
        case _:
            return str(value)
