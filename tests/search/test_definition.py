"""A study's definition: made of its files, checked at once, compared when gone on with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FixedTrial

from kidneyseg.environment_files import load_environment
from kidneyseg.errors import SettingsError, StudyError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.definition import StudyDefinition, StudyPlan, check_same, load_plan
from kidneyseg.search.pruner_settings import Median
from kidneyseg.search.sampler_settings import TPE
from kidneyseg.search.space import make_draw
from kidneyseg.search.without_effect import without_effect
from kidneyseg.settings import Environment, NetworkSettings
from kidneyseg.toml_files import shipped_folder

STUDY = """
search_space = "space"
seed = 7
[hyperparameters]
alpha = 1.0
[[start_points]]
learning_rate = 0.001
beta = 0.5
[sampler]
name = "tpe"
n_startup_trials = 8
"""
SPACE = """
[learning_rate]
type = "float"
low = 1e-4
high = 1e-2
log = true
[beta]
type = "float"
low = 0.05
high = 5.0
"""

LARGE_GRID = """
[batch_size]
type = "int"
low = 1
high = 200
[step_size]
type = "int"
low = 1
high = 60
"""

WriteFiles = Callable[..., None]


@pytest.fixture
def write_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteFiles:
    """Write studies/mine.toml and search_spaces/space.toml below the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(study: str = STUDY, space: str = SPACE) -> None:
        for folder, name, text in (("studies", "mine", study), ("search_spaces", "space", space)):
            Path(folder).mkdir(exist_ok=True)
            Path(folder, f"{name}.toml").write_text(text, encoding="utf-8")

    return write


def refusal(**fixed: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_plan("mine", fixed)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def definition(environment: Environment, write_files: WriteFiles) -> StudyDefinition:
    write_files()
    return load_plan("mine", {}).definition(environment, data="d" * 64, split="s" * 64)


def test_a_plan_is_made_of_its_two_files(write_files: WriteFiles) -> None:
    write_files()
    plan = load_plan("mine", {})
    assert plan.name == "mine"
    assert plan.space.names() == ("learning_rate", "beta")
    assert plan.fixed == {"alpha": 1.0}
    assert plan.start_points == ({"learning_rate": 0.001, "beta": 0.5},)
    assert plan.file.sampler == TPE(name="tpe", n_startup_trials=8)
    assert plan.file.pruner == Median(name="median")
    assert plan.file.seed == 7


SHIPPED = ["lr_loss", "batch", "dropout", "scheduler", "network", "channels", "all"]


def test_every_experiment_of_the_report_is_shipped_as_a_study() -> None:
    for kind in ("studies", "search_spaces"):
        assert {path.stem for path in shipped_folder(kind).glob("*.toml")} == set(SHIPPED)


@pytest.mark.parametrize("machine", ["local", "cluster"])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_study_begins_with_the_reports_values_and_varies_nothing_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, machine: str
) -> None:
    monkeypatch.chdir(tmp_path)
    plan, environment = load_plan(name, {}), load_environment(machine, {})
    assert without_effect(plan, environment) == []
    definition = plan.definition(environment, data="d", split="s")
    first = make_draw({**definition.given, **plan.start_points[0]}, 0)
    report = Hyperparameters()  # its StepLR never fired within 6 epochs, as gamma = 1 does not
    fires = first.hyperparameters.step_size < environment.training.max_epochs
    assert first.hyperparameters.gamma == 1 or not fires
    decay = {"step_size": report.step_size, "gamma": report.gamma}
    assert first.hyperparameters.model_copy(update=decay) == report
    varied = {key for key in plan.space.names() if key.startswith("network.")}
    for key in varied:
        setting = key.removeprefix("network.")
        assert getattr(first.network, setting) == getattr(NetworkSettings(), setting)
    assert set(plan.space.names()) == set(plan.start_points[0])


def test_a_shipped_study_is_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = load_plan("lr_loss", {})
    ranges = {name: range_.ends() for name, range_ in plan.space.root.items()}
    assert ranges == {"learning_rate": (1e-4, 1e-2), "beta": (0.05, 5.0)}
    assert plan.fixed == {"alpha": 1.0}
    assert plan.start_points == ({"learning_rate": 0.001, "beta": 0.5},)
    assert plan.file.pruner == Median(name="median", n_startup_trials=4, n_warmup_epochs=2)


def test_a_setting_that_varies_is_not_given_by_set(write_files: WriteFiles) -> None:
    write_files(space=SPACE + '[network.filters]\ntype = "int"\nlow = 4\nhigh = 8\n')
    load_plan("mine", {}, ["network.kernel_size", "training.patience"])
    with pytest.raises(SettingsError) as caught:
        load_plan("mine", {}, ["network.kernel_size", "network.filters"])
    assert str(caught.value) == (
        "--set network.filters: the search space varies it; expected one of the two"
    )


def test_what_is_drawn_goes_before_the_environments_network(
    write_files: WriteFiles, environment: Environment
) -> None:
    write_files(
        study=STUDY.replace("beta = 0.5", "beta = 0.5\nnetwork.filters = 6"),
        space=SPACE + '[network.filters]\ntype = "int"\nlow = 5\nhigh = 8\n',
    )
    definition = load_plan("mine", {}).definition(environment, data="d", split="s")
    again = StudyDefinition.model_validate_json(definition.model_dump_json())
    draw = again.draw(FixedTrial(dict(again.start_points[0])))  # type: ignore[arg-type]
    assert draw.hyperparameters == Hyperparameters(learning_rate=0.001, beta=0.5, alpha=1.0)
    assert draw.network == environment.network.model_copy(update={"filters": 6})
    assert environment.network.filters == 4


def test_set_on_a_searched_name_fixes_it(write_files: WriteFiles) -> None:
    write_files()
    plan = load_plan("mine", {"beta": 2.0, "dropout": 0.0})
    assert plan.space.names() == ("learning_rate",)
    assert plan.fixed == {"alpha": 1.0, "beta": 2.0, "dropout": 0.0}
    assert plan.start_points == ({"learning_rate": 0.001},)


def test_set_comes_before_what_the_study_file_fixes(write_files: WriteFiles) -> None:
    write_files()
    assert load_plan("mine", {"alpha": 3.0}).fixed == {"alpha": 3.0}


def test_a_start_point_of_nothing_but_fixed_values_is_left_out(write_files: WriteFiles) -> None:
    write_files(study=STUDY.replace("learning_rate = 0.001\n", ""))
    assert load_plan("mine", {"beta": 2.0}).start_points == ()


@pytest.mark.parametrize(
    ("study", "space", "expected"),
    [
        ("seed = 0", SPACE, "studies/mine.toml: search_space is missing"),
        (STUDY + "n_start = 3", SPACE, "studies/mine.toml: unknown key sampler.n_start; expected"),
        (STUDY.replace("tpe", "gird"), SPACE, "studies/mine.toml: sampler: "),
        (STUDY.replace("seed = 7", "seed = -1"), SPACE, "studies/mine.toml: seed = -1: expected"),
        (
            STUDY.replace("alpha = 1.0", "alpha = -1.0"),
            SPACE,
            "studies/mine.toml: alpha = -1.0: expected greater than or equal to 0",
        ),
        (
            STUDY.replace("alpha = 1.0", "network.filters = 8"),
            SPACE,
            "studies/mine.toml: network.filters is a setting, which no study fixes; expected it in",
        ),
        (
            STUDY.replace("beta = 0.5", "network.filters = 8"),
            SPACE,
            "studies/mine.toml: start point sets network.filters, which does not vary",
        ),
        (
            STUDY.replace('"tpe"\nn_startup_trials = 8', '"grid"'),
            SPACE,
            "search_spaces/space.toml: learning_rate has no step, which a grid needs; expected st",
        ),
        (
            STUDY.replace('"tpe"\nn_startup_trials = 8', '"grid"'),
            LARGE_GRID,
            "search_spaces/space.toml: a grid of 12000 points; expected at most 10000",
        ),
        (
            STUDY.replace('"tpe"\nn_startup_trials = 8', '"cmaes"'),
            SPACE + '[sampling]\ntype = "categorical"\nchoices = ["uniform", "balanced"]',
            "search_spaces/space.toml: sampling is categorical, which CMA-ES cannot draw; expected",
        ),
        (
            STUDY.replace('"tpe"\nn_startup_trials = 8', '"cmaes"'),
            SPACE + "only_if = { learning_rate = 0.001 }",
            "search_spaces/space.toml: beta has only_if, which CMA-ES cannot draw; expected",
        ),
        (STUDY.replace("alpha", "alpa"), SPACE, "studies/mine.toml: unknown key alpa; expected"),
        (
            STUDY.replace("alpha", "beta", 1),
            SPACE,
            "studies/mine.toml: beta is fixed here and varied by the search space; expected one",
        ),
        (
            STUDY.replace("beta = 0.5", "beta = 50"),
            SPACE,
            "studies/mine.toml: start point beta = 50 lies outside the search space",
        ),
        (
            STUDY.replace("beta = 0.5", "dropout = 0.5"),
            SPACE,
            "studies/mine.toml: start point sets dropout, which does not vary",
        ),
        (STUDY, SPACE.replace("5.0", "-5"), "search_spaces/space.toml: beta: low 0.05 and high"),
        (STUDY, SPACE.replace("1e-2", "100"), "search_spaces/space.toml: learning_rate = 100.0: "),
        (STUDY, SPACE.replace("[beta]", "[bta]"), "search_spaces/space.toml: unknown hyper-param"),
        (STUDY, "[beta", "search_spaces/space.toml: not TOML"),
        (STUDY.replace('"space"', '"nowhere"'), SPACE, "'nowhere': no such file in search_spaces"),
    ],
)
def test_a_refusal_names_the_file_in_which_the_fault_is(
    write_files: WriteFiles, study: str, space: str, expected: str
) -> None:
    write_files(study, space)
    assert refusal().startswith(expected)


def test_a_wrong_value_of_the_command_line_is_told_as_such(write_files: WriteFiles) -> None:
    write_files()
    assert refusal(dropout=2).startswith("--set: dropout = 2: expected less than 1")
    assert refusal(beta="high").startswith("--set: beta = 'high': expected a valid number")


def test_a_definition_comes_back_from_json_as_it_was(definition: StudyDefinition) -> None:
    again = StudyDefinition.model_validate_json(definition.model_dump_json())
    assert again == definition
    check_same("mine", again, definition)


def test_whole_and_real_numbers_and_texts_come_back_as_what_they_were(
    definition: StudyDefinition,
) -> None:
    fixed = {"a": 1, "b": 1.0, "c": True, "d": "1", "e": 1e-3}
    before = definition.model_copy(update={"fixed": fixed})
    after = StudyDefinition.model_validate_json(before.model_dump_json()).fixed
    assert [(type(value), value) for value in after.values()] == [
        (type(value), value) for value in fixed.values()
    ]


def test_paths_devices_and_cache_are_part_of_no_definition(
    definition: StudyDefinition, environment: Environment
) -> None:
    text = definition.model_dump_json()
    for path in (environment.data.folder, environment.data.cache, environment.common.runs):
        assert str(path) not in text
    data = definition.data_settings()
    assert data.folder is data.cache is None
    assert data.slice_size == environment.data.slice_size


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 8}, "seed was 7 and is now 8"),
        ({"data": "e" * 64}, "data was dddddddddddd... and is now eeeeeeeeeeee..."),
        ({"fixed": {}}, "fixed.alpha was 1.0 and is now not set"),
        ({"fixed": {"alpha": 2.0}}, "fixed.alpha was 1.0 and is now 2.0"),
        ({"sampler": TPE(name="tpe")}, "sampler.n_startup_trials was 8 and is now 10"),
    ],
)
def test_another_definition_is_refused_with_the_difference(
    definition: StudyDefinition, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(StudyError) as caught:
        check_same("mine", definition, definition.model_copy(update=change))
    message = str(caught.value)
    assert message.startswith("study 'mine' was begun with something else: ")
    assert expected in message
    assert message.endswith("Go on as it was begun, or start another with --name")


def test_a_changed_setting_or_range_is_named_by_its_place(
    definition: StudyDefinition,
    environment: Environment,
    build_plan: Callable[..., StudyPlan],
    write_files: WriteFiles,
) -> None:
    training = environment.training.model_copy(update={"patience": 3})
    other = environment.model_copy(update={"training": training})
    write_files(space=SPACE.replace("5.0", "9.0"))
    mine = load_plan("mine", {}).definition(other, data="d" * 64, split="s" * 64)
    with pytest.raises(StudyError) as caught:
        check_same("mine", definition, mine)
    assert "settings.training.patience was 2 and is now 3" in str(caught.value)
    assert "space.beta.high was 5.0 and is now 9.0" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_tumor_fraction", 0.1225, "was not set and is now 0.1225"),
        ("exclude", ("case_00001",), "was [] and is now ['case_00001']"),
        ("folds", 5, "was not set and is now 5"),
        ("margin_mm", 30.0, "was not set and is now 30.0"),
    ],
)
def test_which_cases_and_slices_are_used_is_part_of_the_definition(
    definition: StudyDefinition,
    environment: Environment,
    key: str,
    value: object,
    expected: str,
) -> None:
    data = environment.data.model_copy(update={key: value})
    other = environment.model_copy(update={"data": data})
    mine = load_plan("mine", {}).definition(other, data="d" * 64, split="s" * 64)
    with pytest.raises(StudyError) as caught:
        check_same("mine", definition, mine)
    assert f"settings.data.{key} {expected}" in str(caught.value)


def test_many_differences_are_told_by_the_first_three(definition: StudyDefinition) -> None:
    changes = {"seed": 8, "data": "x", "split": "y", "fixed": {}, "start_points": ()}
    with pytest.raises(StudyError, match=r"\(and 2 more\)") as caught:
        check_same("mine", definition, definition.model_copy(update=changes))
    assert str(caught.value).count(" and is now ") == 3


def test_a_study_in_which_nothing_varies_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"nothing is left to vary.* kidneyseg train"):
        load_plan("lr_loss", {"learning_rate": 1e-3, "beta": 1.0})
