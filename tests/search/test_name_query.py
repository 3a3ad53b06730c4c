"""Names of studies for a shell that completes: from either database, and no error."""

import optuna
import pytest

from kidneyseg.search.name_query import query_names
from kidneyseg.search.storage import Storage


def test_all_studies_are_named_in_order(either_storage: Storage) -> None:
    for name in ("second", "first"):
        optuna.create_study(storage=either_storage.optuna, study_name=name)
    address = either_storage.engine.url.render_as_string(hide_password=False)
    assert query_names(address) == ["first", "second"]


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///no/such.db",
        "sqlite://",
        "postgresql://somebody@127.0.0.1:1/nothing",
        "mysql://somebody@host/nothing",
        "nonsense",
        "",
    ],
)
def test_what_does_not_answer_has_no_names(address: str) -> None:
    assert query_names(address) == []
