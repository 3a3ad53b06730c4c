"""Places are handed out once and in order, to trials that draw."""

from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.places import claim_place, claimed_place
from kidneyseg.search.storage import Storage, open_storage


def test_places_go_in_the_order_of_claims_and_stay(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna)
    other = optuna.create_study(storage=either_storage.optuna)
    trials = [study.ask() for _ in range(4)]
    ids = [trial._trial_id for trial in trials]
    found = [claim_place(either_storage, study._study_id, ids[n], 2) for n in (2, 0, 2, 3)]
    assert found == [0, 1, 0, None]
    study.tell(trials[2], state=TrialState.FAIL)
    assert claim_place(either_storage, study._study_id, ids[1], 2) is None
    assert [claimed_place(either_storage, each) for each in ids] == [1, None, 0, None]
    theirs = other.ask()._trial_id
    assert claim_place(either_storage, other._study_id, theirs, None) == 0


@pytest.mark.slow
def test_8_who_claim_at_once_get_8_places(address: str, either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna)
    trials = [study.ask()._trial_id for _ in range(8)]
    storages = [open_storage(address) for _ in trials]
    with ThreadPoolExecutor(8) as pool:
        claims = [
            pool.submit(claim_place, storage, study._study_id, trial, None)
            for storage, trial in zip(storages, trials, strict=True)
        ]
    assert sorted(claim.result() or 0 for claim in claims) == list(range(8))
    for storage in storages:
        storage.engine.dispose()
