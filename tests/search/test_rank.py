"""A trial's rank among those with hyper-parameters of their own."""

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.rank import rank
from kidneyseg.search.storage import Storage


def test_trials_put_in_line_are_not_counted_however_they_end(either_storage: Storage) -> None:
    other = optuna.create_study(storage=either_storage.optuna)
    other.ask()
    study = optuna.create_study(storage=either_storage.optuna)
    study.tell(study.ask(), 0.5)  # 0
    study.enqueue_trial({"beta": 0.5})  # 1
    study.tell(study.ask(), state=TrialState.FAIL)
    study.tell(study.ask(), state=TrialState.FAIL)  # 2
    study.enqueue_trial({})  # 3
    study.ask()
    study.ask()  # 4
    assert [rank(study, number) for number in range(6)] == [0, 1, 1, 2, 2, 3]


def test_studies_elsewhere_have_no_rank() -> None:
    with pytest.raises(TypeError, match="expected one in a database of open_storage"):
        rank(optuna.create_study(), 0)
