"""A study's definition: the question it asks and all that decides its answer.

It is made of a study file, a search space, the environment and the command line; written into the
database when the study is created; and compared there whenever anybody works on the study.
"""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

from optuna.trial import Trial
from pydantic import Field

from kidneyseg.ct.fingerprints import digest
from kidneyseg.errors import SettingsError, StudyError
from kidneyseg.search.limits import Limits
from kidneyseg.search.pruner_settings import Median, PrunerSettings
from kidneyseg.search.ranges import Value, ValuesByName
from kidneyseg.search.sampler_settings import TPE, SamplerSettings, check_sampler
from kidneyseg.search.space import (
    NETWORK,
    Draw,
    SearchSpace,
    check_hyperparameters,
    given_values,
    make_draw,
    parse_space,
)
from kidneyseg.settings import (
    MACHINE_PATHS,
    DataSettings,
    Environment,
    EvaluationSettings,
    NetworkSettings,
    Part,
    TrainingSettings,
)
from kidneyseg.toml_files import find_named_file, read_toml, validate

CANDIDATE, SEED = "candidate", "seed"  # what a confirmation varies: a trial, and a seed


class StudyFile(Part):
    """`studies/<name>.toml`, as a person writes it."""

    search_space: str
    """Name of a file in `search_spaces/`, or a path."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the sampler and of every training."""
    hyperparameters: ValuesByName = {}
    """Those that are fixed in this study."""
    start_points: tuple[ValuesByName, ...] = ()
    """Tried first, in order."""
    sampler: SamplerSettings = TPE(name="tpe")
    """How the next point is drawn: see below."""
    pruner: PrunerSettings = Median(name="median")
    """Which trials are given up early: see below."""
    limits: Limits = Limits()
    """What a trial may take: see below."""


class ResultSettings(Part):
    """The settings that decide a result. Paths, devices and numbers of workers do not."""

    data: dict[str, Any]
    network: NetworkSettings
    training: TrainingSettings
    evaluation: EvaluationSettings


class Candidate(Part):
    """A trial of a search that is trained again."""

    trial: int
    dice: float  # that the search reported
    values: dict[str, Value]  # its hyper-parameters that varied


class Confirmation(Part):
    """The candidates of a study that confirms another: its space draws one of them, and a seed."""

    study: str
    candidates: tuple[Candidate, ...]


class StudyDefinition(Part):
    """All that decides what a study finds."""

    space: SearchSpace
    seed: int
    fixed: dict[str, Value]
    start_points: tuple[dict[str, Value], ...]
    sampler: SamplerSettings
    pruner: PrunerSettings
    limits: Limits = Limits()
    confirmation: Confirmation | None = None
    settings: ResultSettings
    data: str  # fingerprint of the data set
    split: str  # fingerprint of the split
    pseudonyms: str = ""  # fingerprint of their key; empty: cases have their own names
    phantoms: bool = False  # scans that this program drew; two definitions may differ in it
    code: str = ""  # versions of this package and of Optuna; empty: begun before they were kept

    @property
    def cases(self) -> str:
        """SHA-256 of the data set and its split."""
        return digest((self.data, self.split))

    @property
    def given(self) -> dict[str, Value]:
        """The value, by name, of every hyper-parameter and network setting that is not drawn."""
        return given_values(self.fixed, self.settings.network)

    def draw(self, trial: Trial) -> Draw:
        """Draw what a trial trains with; Optuna notes it in the database."""
        drawn = self.space.draw(trial, self.given)
        if self.confirmation is None:
            return make_draw({**self.given, **drawn}, self.seed)
        chosen = next(
            each for each in self.confirmation.candidates if each.trial == drawn[CANDIDATE]
        )
        return make_draw({**self.given, **chosen.values}, int(drawn[SEED]))

    def data_settings(self) -> DataSettings:
        """The data settings, without a machine's paths."""
        return DataSettings.model_validate(self.settings.data)


class StudyPlan(Part):
    """A study file with its search space and what the command line fixed; no data yet."""

    name: str  # of the study file
    file: StudyFile
    space: SearchSpace
    fixed: dict[str, Value]
    start_points: tuple[dict[str, Value], ...]

    def definition(self, environment: Environment, data: str, split: str) -> StudyDefinition:
        """The definition on given settings, data and split."""
        return StudyDefinition(
            space=self.space,
            seed=self.file.seed,
            fixed=self.fixed,
            start_points=self.start_points,
            sampler=self.file.sampler,
            pruner=self.file.pruner,
            limits=self.file.limits,
            settings=result_settings(environment),
            data=data,
            split=split,
            code=code_version(),
        )


def load_plan(
    name: str,
    hyperparameters: dict[str, Any],
    settings: Collection[str] = (),  # dotted names that `--set` gave
) -> StudyPlan:
    """Load a study file and its search space, and fix `hyperparameters` from the command line.

    A hyper-parameter fixed there no longer varies; a setting that varies may not be given there.
    Raises SettingsError.
    """
    path = find_named_file("studies", name)
    file = validate(StudyFile, read_toml(path), path)
    space_path = find_named_file("search_spaces", file.search_space)
    space = parse_space(read_toml(space_path), str(space_path))
    check_hyperparameters(hyperparameters, "--set")
    _check_fixed(file, space, str(path))
    _check_given(settings, space)
    fixed = {**file.hyperparameters, **hyperparameters}
    space = space.without(set(hyperparameters))
    if not space.names():
        raise SettingsError(
            f"{path}: nothing is left to vary, --set fixes it all; leave one out, or train once "
            "with kidneyseg train"
        )
    space.check(fixed, str(space_path))
    check_sampler(file.sampler, space, str(space_path))
    points = [
        {key: value for key, value in point.items() if key not in hyperparameters}
        for point in file.start_points
    ]
    for point in points:
        space.check_point(point, str(path))
    kept = tuple(point for point in points if point)
    return StudyPlan(name=path.stem, file=file, space=space, fixed=fixed, start_points=kept)


def code_version() -> str:
    """The versions that a study's trials must share: of this package, and of Optuna."""
    return f"kidneyseg {version('kidneyseg')}, Optuna {version('optuna')}"


def result_settings(environment: Environment) -> ResultSettings:
    """The part of an environment that decides a result."""
    return ResultSettings(
        data=environment.data.model_dump(mode="json", exclude=MACHINE_PATHS),
        network=environment.network,
        training=environment.training,
        evaluation=environment.evaluation,
    )


def check_same(study: str, recorded: StudyDefinition, mine: StudyDefinition) -> None:
    """Refuse to go on with a study that was begun with something else.

    Raises StudyError with the first differences in plain words.
    """
    mine = mine.model_copy(update={"phantoms": recorded.phantoms})
    if not recorded.code:
        mine = mine.model_copy(update={"code": ""})
    before, now = _flat(recorded.model_dump(mode="json")), _flat(mine.model_dump(mode="json"))
    differences = [
        f"{key} was {_short(before.get(key))} and is now {_short(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise StudyError(
            f"study {study!r} was begun with something else: {'; '.join(differences[:3])}{more}. "
            "Go on as it was begun, or start another with --name"
        )


def _check_fixed(file: StudyFile, space: SearchSpace, source: str) -> None:
    for name in file.hyperparameters:
        if name.startswith(NETWORK):
            raise SettingsError(
                f"{source}: {name} is a setting, which no study fixes; expected it in the "
                "environment or with --set"
            )
    check_hyperparameters(file.hyperparameters, source)
    both = sorted(set(file.hyperparameters) & set(space.names()))
    if both:
        raise SettingsError(
            f"{source}: {', '.join(both)} is fixed here and varied by the search space; "
            "expected one of the two"
        )


def _check_given(settings: Collection[str], space: SearchSpace) -> None:
    for name in settings:
        if name in space.names():
            raise SettingsError(
                f"--set {name}: the search space varies it; expected one of the two"
            )


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        flat: dict[str, Any] = {}
        for name, inner in value.items():
            flat |= _flat(inner, f"{key}.{name}" if key else str(name))
        return flat
    return {key: value}


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
