"""Importance as Optuna finds it, and the reasons to leave it out."""

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from kidneyseg.search.report.importance import find_importance
from kidneyseg.search.study_record import StudyRecord

from .conftest import WIDE, complete

BuildRecord = Callable[..., StudyRecord]


def drawn(n: int, seed: int = 0) -> list[dict[str, float]]:
    random = np.random.default_rng(seed)
    return [
        {"learning_rate": float(rate), "beta": float(beta)}
        for rate, beta in zip(
            10 ** random.uniform(-3, -1, n), 10 ** random.uniform(-1.3, 0.69, n), strict=True
        )
    ]


def test_it_is_optuna_s_of_the_same_trials(build_record: BuildRecord) -> None:
    points = drawn(100)
    dice = [0.9 - abs(np.log10(each["learning_rate"]) + 2) / 10 for each in points]
    trials = [complete(k, each, params=points[k]) for k, each in enumerate(dice)]
    record = build_record(trials)
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        study.add_trial(
            optuna.create_trial(
                params=dict(trial.params),
                distributions={
                    name: range_.distribution()
                    for name, range_ in record.definition.space.root.items()
                },
                value=trial.value,
            )
        )
    theirs = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.1)
    )
    found = find_importance(record)
    assert found.shares == pytest.approx(theirs)
    assert list(found.shares) == ["learning_rate", "beta"]
    assert (found.n_trials, found.n_best) == (100, 10)


def test_copies_count_once(build_record: BuildRecord) -> None:
    trials = [complete(k, 0.8 + k / 1000, params=each) for k, each in enumerate(drawn(20))]
    copies = [complete(20 + k, 0.8, params=trials[0].params, copy_of=0) for k in range(50)]
    assert find_importance(build_record([*trials, *copies])) == find_importance(
        build_record(trials)
    )


def test_a_hyper_parameter_that_some_trials_lack_is_counted_too(build_record: BuildRecord) -> None:
    random = np.random.default_rng(0)
    trials = []
    for k, point in enumerate(drawn(40)):
        uniform = k % 2 == 0
        params = {
            **point,
            "learning_rate": point["learning_rate"] / 10,
            "dropout": float(random.uniform(0, 0.5)),
            "sampling": "uniform" if uniform else "balanced",
            "network.filters": 16,
            **({"network.activation": "relu"} if uniform else {}),
        }
        trials.append(complete(k, float(random.random()), params=params))
    found = find_importance(build_record(trials, space=WIDE))
    assert set(found.shares) == set(trials[0].params)
    assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("n", "space", "why_not"),
    [
        (9, None, "10 complete trials or more are needed, and there are 9"),
        (12, {"beta": {"type": "float", "low": 0.05, "high": 5.0}}, "only one hyper-parameter"),
        (12, None, "all complete trials have the same Dice"),
    ],
)
def test_where_it_says_nothing_it_is_left_out(
    n: int, space: dict[str, object] | None, why_not: str, build_record: BuildRecord
) -> None:
    found = find_importance(build_record([complete(k, 0.8) for k in range(n)], space=space))
    assert found.shares == {}
    assert why_not in found.why_not
