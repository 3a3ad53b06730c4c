"""TensorBoard's table of trials, read back by TensorBoard itself."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as Experiment
from tensorboard.plugins.hparams.list_session_groups import Handler as Groups
from torch.utils.tensorboard import SummaryWriter

from kidneyseg.search.hparams import write_hparams
from kidneyseg.search.ranges import Value
from kidneyseg.search.space import SearchSpace, parse_space

SPACE = parse_space(
    {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": {"type": "int", "low": 4, "high": 32},
        "sampling": {"type": "categorical", "choices": ["uniform", "balanced"]},
    },
    "space.toml",
)
PARAMS: list[dict[str, Value]] = [
    {"learning_rate": 1e-3, "batch_size": 8, "sampling": "uniform"},
    {"learning_rate": 5e-3, "batch_size": 16, "sampling": "balanced"},
]
BEST = [0.5, 0.75]


def ended(params: dict[str, Value], space: SearchSpace = SPACE) -> FrozenTrial:
    """A trial that drew these values."""
    return create_trial(
        value=0.0,
        params=params,
        distributions={name: range_.distribution() for name, range_ in space.root.items()},
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two trials of a study, as a search leaves them: a complete one, and a failed one."""
    states = (TrialState.COMPLETE, TrialState.FAIL)
    for number, (params, best, state) in enumerate(zip(PARAMS, BEST, states, strict=True)):
        folder = tmp_path / f"trial_{number:05d}" / "tensorboard"
        with SummaryWriter(str(folder / "validation")) as writer:
            writer.add_scalar("best_dice", best / 2, 1)
            writer.add_scalar("best_dice", best, 2)
        write_hparams(folder, SPACE, ended(params), state)
    return tmp_path


def read(runs: Path) -> tuple[Any, Any]:
    """TensorBoard's own answer: columns, and a row for each trial."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(runs)).Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(runs))))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[
            api_pb2.STATUS_SUCCESS,
            api_pb2.STATUS_FAILURE,
            api_pb2.STATUS_RUNNING,
            api_pb2.STATUS_UNKNOWN,
        ],
    )
    columns = Experiment(
        RequestContext(), context, "", api_pb2.GetExperimentRequest(include_metrics=True)
    ).run()
    return columns, Groups(RequestContext(), context, "", request).run()


def test_trials_stand_side_by_side_with_their_hyperparameters_and_best_dice(runs: Path) -> None:
    _, rows = read(runs)
    groups = {group.name: group for group in rows.session_groups}
    assert set(groups) == {"trial_00000", "trial_00001"}
    for number, (params, best) in enumerate(zip(PARAMS, BEST, strict=True)):
        group = groups[f"trial_{number:05d}"]
        shown = {
            name: value.string_value or value.number_value for name, value in group.hparams.items()
        }
        assert shown == params
        metrics = {each.name.tag: each.value for each in group.metric_values}
        assert metrics == {"best_dice": pytest.approx(best)}


def test_the_columns_are_what_the_study_varies(runs: Path) -> None:
    columns, _ = read(runs)
    kinds = {info.name: info.type for info in columns.hparam_infos}
    assert kinds == {
        "learning_rate": api_pb2.DATA_TYPE_FLOAT64,
        "batch_size": api_pb2.DATA_TYPE_FLOAT64,
        "sampling": api_pb2.DATA_TYPE_STRING,
    }
    shown = {(info.name.group, info.name.tag) for info in columns.metric_infos}
    assert shown == {
        ("validation", "best_dice"),
        ("validation", "dice"),
        ("validation", "loss/combined"),
    }


def test_a_failed_trial_is_shown_as_one(runs: Path) -> None:
    _, rows = read(runs)
    states = {group.name: group.sessions[0].status for group in rows.session_groups}
    assert states == {
        "trial_00000": api_pb2.STATUS_SUCCESS,
        "trial_00001": api_pb2.STATUS_FAILURE,
    }


def test_written_again_it_is_there_once(runs: Path) -> None:
    folder = runs / "trial_00001" / "tensorboard"
    write_hparams(folder, SPACE, ended(PARAMS[1]), TrialState.COMPLETE)
    assert len(list(folder.glob("*.hparams"))) == 1
    _, rows = read(runs)
    (group,) = [each for each in rows.session_groups if each.name == "trial_00001"]
    assert [session.status for session in group.sessions] == [api_pb2.STATUS_SUCCESS]


def test_values_of_several_types_are_columns_too(tmp_path: Path) -> None:
    space = SearchSpace.model_validate(
        {"patience": {"type": "categorical", "choices": [1, 2.5, "none"]}}
    )
    folder = tmp_path / "trial_00000" / "tensorboard"
    trial = ended({"patience": "none"}, space)
    write_hparams(folder, space, trial, TrialState.PRUNED)
    columns, rows = read(tmp_path)
    assert [info.name for info in columns.hparam_infos] == ["patience"]
    assert rows.session_groups[0].hparams["patience"].string_value == "none"
