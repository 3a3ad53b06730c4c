"""The parts of docs/settings.md that are made of the code."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.reference.fields import as_toml, default_words, values_words
from kidneyseg.reference.fields import fields_table as fields
from kidneyseg.reference.markdown import code, table
from kidneyseg.search.definition import StudyFile
from kidneyseg.search.limits import Limits
from kidneyseg.search.pruner_settings import PrunerSettings
from kidneyseg.search.sampler_settings import SamplerSettings
from kidneyseg.settings import Environment


def settings_parts() -> dict[str, str]:
    """Tables by the name of their place in the page."""
    parts = {name: fields(part) for name, part in environment_parts()}
    return {
        **parts,
        "hyper-parameters": fields(Hyperparameters),
        "study file": fields(StudyFile),
        "samplers": choices_table(SamplerSettings),
        "pruners": choices_table(PrunerSettings),
        "limits": fields(Limits),
    }


def environment_parts() -> Iterator[tuple[str, type[BaseModel]]]:
    """The parts of a machine's file."""
    for name, field in Environment.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield name, kind


def choices_table(annotated: Any) -> str:
    """A table of the parts that a key of several kinds may hold, by their `name`."""
    kinds: tuple[type[BaseModel], ...] = get_args(get_args(annotated)[0])
    return table(("name", "what it does", "keys"), (_choice(kind) for kind in kinds))


def _choice(kind: type[BaseModel]) -> tuple[str, str, str]:
    (name,) = get_args(kind.model_fields["name"].annotation)
    words = (kind.__doc__ or "").split("\n\n")[0]
    keys = [
        f"{code(key)} ({values_words(field.annotation)}; {default_words(field)}): "
        f"{' '.join((field.description or '').split())}"
        for key, field in kind.model_fields.items()
        if key != "name"
    ]
    return code(as_toml(name)), " ".join(words.split()), " ".join(keys)
