"""The best few are trained again with new seeds, and what is not told apart is said."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from kidneyseg.cli.confirmation_text import confirmation_text
from kidneyseg.errors import StudyError
from kidneyseg.evaluation.curves import find_log, read_curves
from kidneyseg.model.description import load_description
from kidneyseg.network.cost import count_forward_macs
from kidneyseg.runs import Runs
from kidneyseg.search.budget import read_ledger
from kidneyseg.search.confirmation import begin_confirmation, check_candidate, judge
from kidneyseg.search.definition import CANDIDATE, SEED, StudyPlan
from kidneyseg.search.objective import BEST_EPOCH, DICE_OF_CASE, Workplace
from kidneyseg.search.refit import refit
from kidneyseg.search.service import join_study
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.worker import work
from kidneyseg.settings import Environment

BuildWorkplace = Callable[..., Workplace]
BuildPlan = Callable[..., StudyPlan]


@pytest.fixture
def searched(either_storage: Storage, build_workplace: BuildWorkplace, quick_trials: None) -> Study:
    """A study of four complete trials."""
    workplace = build_workplace(either_storage)
    list(work(workplace, 4))
    return workplace.study


def tell_all(
    linked: Study,
    gap: float,
    n_epochs: Mapping[int, int] | None = None,
    cases: Sequence[str] = ("a", "b"),
) -> None:
    """Complete every training: the best candidate by `gap` better, seeds apart by 0.001.

    Of as many epochs as are given by candidate, else three.
    """
    best = linked.definition.confirmation.candidates[0].trial  # type: ignore[union-attr]
    for _ in range(linked.n_trials):
        trial = linked.optuna.ask()
        draw = linked.definition.draw(trial)
        dice = 0.8 + gap * (trial.params[CANDIDATE] == best) + 0.001 * (draw.seed % 3)
        for epoch in range((n_epochs or {}).get(trial.params[CANDIDATE], 3)):
            trial.report(dice, epoch + 1)
        dices = {case: dice - 0.1 * place for place, case in enumerate(cases)}
        trial.set_user_attr(DICE_OF_CASE, dices)
        trial.set_user_attr(BEST_EPOCH, 3)
        linked.optuna.tell(trial, dice)


def test_each_candidate_is_drawn_once_with_each_new_seed(searched: Study) -> None:
    linked = begin_confirmation(searched, top=2, n_seeds=3)
    assert (linked.name, linked.n_trials) == ("tiny-confirm", 6)
    best = sorted(searched.optuna.trials, key=lambda trial: -(trial.value or 0))[:2]
    drawn = []
    for _ in range(6):
        trial = linked.optuna.ask()
        draw = linked.definition.draw(trial)
        of_search = searched.optuna.trials[trial.params[CANDIDATE]]
        assert draw.hyperparameters.learning_rate == of_search.params["learning_rate"]
        assert draw.hyperparameters.batch_size == 8  # fixed in the search
        assert draw.seed == trial.params[SEED] != searched.definition.seed
        drawn.append((trial.params[CANDIDATE], draw.seed))
        linked.optuna.tell(trial, 0.5)
    assert sorted(drawn) == sorted((each.number, s) for each in best for s in (1, 2, 3))
    assert read_ledger(linked.storage, linked.id).tally().complete == 6


def test_the_same_again_goes_on_and_another_choice_is_refused(searched: Study) -> None:
    first = begin_confirmation(searched, top=2, n_seeds=2)
    assert begin_confirmation(searched, top=2, n_seeds=2).id == first.id
    with pytest.raises(StudyError, match="was begun with something else"):
        begin_confirmation(searched, top=3, n_seeds=2)


def test_a_winner_is_named_and_who_is_worse(searched: Study) -> None:
    linked = begin_confirmation(searched, top=2, n_seeds=3)
    with pytest.raises(StudyError, match="0 of 6 trainings are complete"):
        judge(linked)
    tell_all(linked, gap=0.05)
    verdict = judge(linked)
    best = max(searched.optuna.trials, key=lambda trial: trial.value or 0)
    assert verdict.winner.trial == best.number
    assert verdict.winner.searched_dice == best.value
    assert verdict.winner.standing.dice.mean == pytest.approx(0.8 + 0.05 + 0.001 - 0.05)
    assert [each.trial for each in verdict.like_winner] == [best.number]
    assert verdict.recommended is verdict.winner


@pytest.mark.parametrize(
    ("epochs_of_first", "epochs_of_second", "recommended"),
    [(20, 18, 1), (20, 19, 1), (20, 20, 0), (21, 20, 0), (18, 20, 0)],
)
def test_a_cheaper_one_like_the_winner_is_recommended_where_it_saves_5_percent(
    searched: Study, epochs_of_first: int, epochs_of_second: int, recommended: int
) -> None:
    linked = begin_confirmation(searched, top=2, n_seeds=3)
    first, second = linked.definition.confirmation.candidates  # type: ignore[union-attr]
    epochs = {first.trial: epochs_of_first, second.trial: epochs_of_second}
    tell_all(linked, gap=1e-4, n_epochs=epochs)
    verdict = judge(linked)
    assert [each.trial for each in verdict.like_winner] == [first.trial, second.trial]
    assert verdict.recommended is verdict.candidates[recommended]
    assert verdict.to_refit(None) is verdict.winner
    assert verdict.to_refit(second.trial) is verdict.candidates[1]
    gmac = count_forward_macs(linked.definition.settings.network, (32, 32)) / 1e9
    assert verdict.winner.cost_gmac == pytest.approx(gmac * epochs_of_first)
    text = confirmation_text(verdict)
    assert f"the search reported {first.dice:.4f} for trial {first.trial}: new seeds" in text
    assert "intervals: a bootstrap over cases and seeds; of few, too narrow" in text.splitlines()
    row = next(line for line in text.splitlines() if line.startswith(f"{second.trial:>5}  "))
    assert row.endswith(f"  {epochs_of_second / epochs_of_first:.2f}")


def test_a_smaller_network_is_cheaper_by_its_multiply_adds(
    storage: Storage, build_workplace: BuildWorkplace, build_plan: BuildPlan, quick_trials: None
) -> None:
    filters = {"type": "categorical", "choices": [4, 8]}
    space = {"network": {"filters": filters}}
    points = ({"network.filters": 4}, {"network.filters": 8})
    workplace = build_workplace(storage, build_plan(space=space, start_points=points))
    list(work(workplace, 2))
    linked = begin_confirmation(workplace.study, top=2, n_seeds=2)
    tell_all(linked, gap=0.0)
    network = linked.definition.settings.network
    costs = {each.values["network.filters"]: each.cost_gmac for each in judge(linked).candidates}
    for n_filters, cost in costs.items():
        settings = network.model_copy(update={"filters": n_filters})
        assert cost == pytest.approx(3 * count_forward_macs(settings, (32, 32)) / 1e9)
    assert judge(linked).recommended.values["network.filters"] == 4


def test_a_confirmation_is_not_confirmed_again(searched: Study) -> None:
    linked = begin_confirmation(searched, top=2, n_seeds=2)
    tell_all(linked, gap=0.0)
    with pytest.raises(StudyError, match=r"confirms study 'tiny'.*expected --study tiny"):
        begin_confirmation(linked, top=1, n_seeds=2)


def test_a_trial_to_refit_must_be_a_candidate(searched: Study) -> None:
    linked = begin_confirmation(searched, top=2, n_seeds=2)
    first, second = linked.definition.confirmation.candidates  # type: ignore[union-attr]
    check_candidate(linked, second.trial)
    with pytest.raises(StudyError, match=f"expected one of {first.trial}, {second.trial}"):
        check_candidate(linked, 99)


@pytest.mark.parametrize(
    ("top", "seeds", "words"),
    [(9, 3, "4 trials are complete, fewer than --top 9"), (2, 1, "2 or more seeds")],
)
def test_what_cannot_be_confirmed_is_said(
    searched: Study, top: int, seeds: int, words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        begin_confirmation(searched, top, seeds)


def test_a_refit_trains_on_all_development_cases_for_the_epochs_that_the_search_found(
    storage: Storage,
    build_workplace: BuildWorkplace,
    environment: Environment,
    tmp_path: Path,
    quick_trials: None,
) -> None:
    workplace = build_workplace(storage)
    list(work(workplace, 2))
    linked = begin_confirmation(workplace.study, top=1, n_seeds=2)
    begun = join_study(storage, linked.name, environment)
    cases = begun.cases.split.validation
    tell_all(linked, gap=0.0, cases=cases)  # the seeds' best epoch is 3
    verdict = judge(linked)
    results = list(refit(begun, verdict, verdict.winner, "cpu", tmp_path / "model"))
    assert len(results) == 2  # the best epoch of the search's trial
    description = load_description(tmp_path / "model")
    split = begun.cases.split
    assert set(results[-1].dice_of_case) == {*split.training, *split.validation}
    assert set(description.validation.dice_of_case) == set(split.validation)
    assert description.validation.dice == pytest.approx(verdict.winner.standing.dice.mean)
    assert description.refit is not None
    assert "training and validation cases together" in (tmp_path / "model/README.md").read_text(
        encoding="utf-8"
    )
    log = find_log(Runs(environment.common.runs), description)
    assert log is not None
    curves = read_curves(log, "dice")
    assert set(curves) == {"training"}  # there are no cases left to validate on
    assert curves["training"].epochs == (1, 2)
