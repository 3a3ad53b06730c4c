"""The environment of a run: a settings file by name or path, and what the command line sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kidneyseg.errors import SettingsError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import Environment
from kidneyseg.toml_files import find_named_file, read_toml, validate


def load_environment(name: str, settings: Mapping[str, Any]) -> Environment:
    """Load `local`, `cluster` or a file, then put dotted `settings` such as training.patience in.

    Raises SettingsError for an unknown name, key or value.
    """
    path = find_named_file("environments", name)
    values = read_toml(path)
    validate(Environment, values, path)
    if not settings:
        return validate(Environment, values, path)
    for key, value in settings.items():
        part, _, field = key.partition(".")
        values.setdefault(part, {})[field] = value
    # One of the two replaces the file's other one.
    for key, other in (("spacing_mm", "downsampling"), ("downsampling", "spacing_mm")):
        if f"data.{key}" in settings and f"data.{other}" not in settings:
            values["data"].pop(other, None)
    return validate(Environment, values, "--set")


def split_assignments(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part `--set` values into hyper-parameters (plain names) and settings (dotted names).

    Raises SettingsError for a name that is neither.
    """
    hyperparameters, settings = {}, {}
    for key, value in values.items():
        if key in Hyperparameters.model_fields:
            hyperparameters[key] = value
        elif key.partition(".")[0] in Environment.model_fields and "." in key:
            settings[key] = value
        else:
            known = ", ".join(Hyperparameters.model_fields)
            parts = ", ".join(f"{part}.*" for part in Environment.model_fields)
            raise SettingsError(f"--set {key}: expected a hyper-parameter ({known}) or {parts}")
    return hyperparameters, settings


def with_folders(environment: Environment, *, data: Path | None) -> Environment:
    """The same environment with the data folder that the command line named, if it did."""
    if data is None:
        return environment
    changed = environment.data.model_copy(update={"folder": data})
    return environment.model_copy(update={"data": changed})
