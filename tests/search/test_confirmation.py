"""The best few are trained again with new seeds, and what is not told apart is said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.errors import DataError, StudyError
from kidneyseg.evaluation.cases import SplitPart, find_evaluation_cases
from kidneyseg.model.description import load_description
from kidneyseg.search.budget import read_ledger
from kidneyseg.search.confirmation import begin_confirmation, judge
from kidneyseg.search.definition import CANDIDATE, SEED
from kidneyseg.search.objective import BEST_EPOCH, DICE_OF_CASE, Workplace
from kidneyseg.search.refit import refit
from kidneyseg.search.service import join_study
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.worker import work
from kidneyseg.settings import Environment

BuildWorkplace = Callable[..., Workplace]


@pytest.fixture
def searched(either_storage: Storage, build_workplace: BuildWorkplace, quick_trials: None) -> Study:
    """A study of four complete trials."""
    workplace = build_workplace(either_storage)
    list(work(workplace, 4))
    return workplace.study


def tell_all(linked: Study, gap: float) -> None:
    """Complete every training: the best candidate by `gap` better, seeds apart by 0.001."""
    best = linked.definition.confirmation.candidates[0].trial  # type: ignore[union-attr]
    for _ in range(linked.n_trials):
        trial = linked.optuna.ask()
        draw = linked.definition.draw(trial)
        dice = 0.8 + gap * (trial.params[CANDIDATE] == best) + 0.001 * (draw.seed % 3)
        trial.set_user_attr(DICE_OF_CASE, {"a": dice, "b": dice - 0.1})
        trial.set_user_attr(BEST_EPOCH, 2)
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


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_recommended(searched: Study) -> None:
    linked = begin_confirmation(searched, top=2, n_seeds=3)
    tell_all(linked, gap=0.0)
    verdict = judge(linked)
    assert len(verdict.like_winner) == 2
    assert verdict.recommended.seconds == min(each.seconds for each in verdict.like_winner)


@pytest.mark.parametrize(
    ("top", "seeds", "words"),
    [(9, 3, "4 trials are complete, fewer than --top 9"), (2, 1, "2 or more seeds")],
)
def test_what_cannot_be_confirmed_is_said(
    searched: Study, top: int, seeds: int, words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        begin_confirmation(searched, top, seeds)


def test_the_recommended_one_is_trained_on_all_development_cases(
    storage: Storage, build_workplace: BuildWorkplace, environment: Environment, tmp_path: Path
) -> None:
    workplace = build_workplace(storage)
    list(work(workplace, 2))
    linked = begin_confirmation(workplace.study, top=1, n_seeds=2)
    begun = join_study(storage, linked.name, environment)
    list(work(begun.workplace("cpu")))
    verdict = judge(linked)
    results = list(refit(begun, verdict, "cpu", 1, tmp_path / "model"))
    assert len(results) == verdict.recommended.best_epoch
    description = load_description(tmp_path / "model")
    split = begun.cases.split
    assert set(results[-1].dice_of_case) == {*split.training, *split.validation}
    assert set(description.validation.dice_of_case) == set(split.validation)
    assert description.validation.dice == pytest.approx(verdict.winner.standing.dice.mean)
    assert description.refit is not None
    assert "training and validation cases together" in (tmp_path / "model/README.md").read_text()
    with pytest.raises(DataError, match="the model was trained on these cases"):
        find_evaluation_cases(description, environment, SplitPart.VALIDATION)
