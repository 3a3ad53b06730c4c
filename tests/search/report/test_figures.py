"""Figures that plotly takes, on studies of every shape."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from plotly import graph_objects

from kidneyseg.search.ranges import Choice
from kidneyseg.search.report.case_figures import MOST_CASES, cases, shown_cases
from kidneyseg.search.report.chapters import Chapter, Material, chapters
from kidneyseg.search.report.figure import Figure
from kidneyseg.search.report.parameter_figures import parallel
from kidneyseg.search.report.pictures import Picture
from kidneyseg.search.report.trial_figures import curves, history, pruning
from kidneyseg.search.space import SearchSpace
from kidneyseg.search.study_record import EpochLosses, StudyRecord

from .conftest import OWN, WIDE, complete, failed, pruned

BuildRecord = Callable[..., StudyRecord]
AsMaterial = Callable[..., Material]
UNIFORM = {
    "learning_rate": 0.001,
    "beta": 0.5,
    "dropout": 0.2,
    "sampling": "uniform",
    "network.filters": 64,
    "network.activation": "relu",
}


def figures(all_chapters: list[Chapter]) -> Iterator[Figure]:
    for chapter in all_chapters:
        yield from (block for block in chapter.blocks if isinstance(block, Figure))


def wide_study(build_record: BuildRecord) -> StudyRecord:
    """Hyper-parameters of all kinds, one of them conditional."""
    balanced = {key: value for key, value in UNIFORM.items() if key != "network.activation"}
    balanced |= {"sampling": "balanced", "learning_rate": 0.004}
    trials = [complete(k, 0.8 + k / 100, params=UNIFORM if k % 2 else balanced) for k in range(12)]
    others = [pruned(12, 0.4, params=UNIFORM), failed(13, "failed: no memory")]
    return build_record([*trials, *others], space=WIDE, start_points=(UNIFORM,))


def one_trial(build_record: BuildRecord) -> StudyRecord:
    return build_record([complete(0, 0.8, params=OWN)])


def bare_trial(build_record: BuildRecord) -> StudyRecord:
    """Neither curve nor cases nor best epoch."""
    return build_record([complete(0, 0.8, curve={}, dice_of_case={}, best_epoch=None)])


def confirmation(build_record: BuildRecord) -> StudyRecord:
    """A study of trials of another one, trained again with new seeds."""
    params = [{"candidate": trial, "seed": seed} for trial in (3, 7) for seed in (1, 2)]
    record = build_record(
        [complete(k, 0.8 + k / 100, params=each) for k, each in enumerate(params)]
    )
    choices = {"candidate": (3, 7), "seed": (1, 2)}
    space = SearchSpace(
        {name: Choice(type="categorical", choices=each) for name, each in choices.items()}
    )
    return replace(record, definition=record.definition.model_copy(update={"space": space}))


def long_study(build_record: BuildRecord) -> StudyRecord:
    losses = tuple(EpochLosses(epoch=k, training=1 / k, validation=2 / k) for k in range(1, 99))
    return build_record([complete(0, 0.8, curve=dict.fromkeys(range(1, 99), 0.5))], losses=losses)


@pytest.mark.parametrize("study", [wide_study, one_trial, bare_trial, long_study, confirmation])
def test_plotly_takes_every_figure(
    study: Callable[[BuildRecord], StudyRecord], build_record: BuildRecord, as_material: AsMaterial
) -> None:
    found = list(figures(chapters(as_material(study(build_record)))))
    assert len(found) == 9
    for figure in found:
        assert figure.caption.endswith(".")
        assert figure.drawings or figure.content or figure.caption
        for each in figure.drawings:
            graph_objects.Figure(each)  # checks every key and value
            json.dumps(each, allow_nan=False)


def test_every_trial_is_in_the_history_and_the_best_so_far_only_climbs(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    dice = [0.5, 0.7, 0.6, 0.8]
    record = build_record([*(complete(k, each) for k, each in enumerate(dice)), pruned(4, 0.3)])
    (drawn,) = history(record, as_material(record).answer).drawings
    line, *kinds = drawn["data"]
    assert (line["x"], line["y"]) == ([0, 1, 2, 3], [0.5, 0.7, 0.7, 0.8])
    points = {x: y for each in kinds for x, y in zip(each["x"], each["y"], strict=True)}
    assert points == {0: 0.5, 1: 0.7, 2: 0.6, 3: 0.8, 4: 0.3}
    symbols = [each["marker"]["symbol"] for each in kinds]
    assert len(set(symbols)) == len(symbols)  # told apart without colours


def test_pruned_curves_end_in_a_cross(build_record: BuildRecord, as_material: AsMaterial) -> None:
    record = build_record([complete(0, 0.9), pruned(1, 0.3, curve={1: 0.2, 2: 0.1})])
    (drawn,) = curves(record, as_material(record).answer).drawings
    ends = next(each for each in drawn["data"] if each["name"] == "pruned here")
    assert (ends["x"], ends["y"]) == ([2], [0.1])
    bundle = next(each for each in drawn["data"] if each["name"] == "pruned")
    assert bundle["x"] == [1, 2, None]


def parallel_layout(record: StudyRecord, as_material: AsMaterial) -> dict[str, Any]:
    (drawn,) = parallel(record, as_material(record).answer).drawings
    return drawn


def test_a_hyper_parameter_s_name_is_broken_only_where_it_would_meet_its_neighbour_s(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    few = parallel_layout(one_trial(build_record), as_material)
    assert few["layout"]["xaxis"]["ticktext"] == ["learning_rate", "beta"]
    long = dict.fromkeys(("border_sigma_px", "border_weight", "augmentation"), WIDE["dropout"])
    space = {**long, "learning_rate": WIDE["learning_rate"], "beta": WIDE["beta"]}
    many = parallel_layout(build_record([complete(0, 0.8)], space=space), as_material)
    assert many["layout"]["xaxis"]["ticktext"] == [
        *("border_<br>sigma_<br>px", "border_<br>weight", "augmentation"),
        *("learning_<br>rate", "beta"),
    ]


def test_trials_of_one_dice_are_told_by_one_number(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    record = build_record([complete(0, 0.0621), complete(1, 0.8)])
    names = [each["name"] for each in parallel_layout(record, as_material)["data"]]
    assert names == ["Dice 0.062", "best: trial 1"]


def test_epochs_are_counted_by_the_trials_that_trained_them(build_record: BuildRecord) -> None:
    record = build_record(
        [complete(0, 0.9), complete(1, 0.8), complete(2, 0.8, copy_of=1), pruned(3, 0.3)]
    )
    (drawn,) = pruning(record).drawings
    assert [(each["x"], each["y"]) for each in drawn["data"]] == [([1, 2], [2, 2]), ([1], [1])]


def test_of_many_cases_the_worst_and_the_best_are_drawn(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    dice = {f"c{k:03d}": k / 1000 for k in range(500)}
    shown = shown_cases(dice)
    assert len(shown) == MOST_CASES
    assert (shown[0], shown[39], shown[40], shown[-1]) == ("c000", "c039", "c480", "c499")
    record = build_record([complete(0, 0.9, dice_of_case=dice)])
    assert "the best of 500 cases, 60 in all" in cases(as_material(record).answer).caption


def test_a_reason_stands_where_a_figure_is_left_out(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    found: dict[str, Any] = {
        each.title: each for each in figures(chapters(as_material(bare_trial(build_record))))
    }
    assert (
        "10 complete trials or more are needed"
        in found["Importance of the hyper-parameters"].caption
    )
    assert found["What pruning saved"].caption == "No trial was pruned."
    assert found["Slices of the best trial"].caption == "Left out: not wanted."


def test_beside_pictures_it_says_which_outline_is_true_and_which_cases_are_kept(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    picture = Picture(case="case_0", rank=1, dice=0.5, data_uri="data:image/png;base64,")
    material = as_material(one_trial(build_record), pictures=[picture])
    found = {each.title: each.caption for each in figures(chapters(material))}
    caption = found["Slices of the best trial"]
    assert "the true outline in blue, the predicted one in orange on top of it" in caption
    assert caption.endswith("the 4 cases of lowest and the 2 of highest Dice of each trial.")
