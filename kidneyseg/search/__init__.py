"""Search hyper-parameters from Python.

`begin_search` gives a `Search`; `Search.run` yields events (`TrialStarted`, `EpochFinished`,
`TrialFinished` and others) until the study holds the trials asked for; `Search.best` and
`Search.export` give the result. docs/python.md has an example that runs.

Names are resolved when they are first asked for: the processes that train trials import modules
of this package, and load neither Optuna nor SQLAlchemy with them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kidneyseg.search.events import (
        EpochFinished,
        Event,
        Stopped,
        TakenOver,
        TrialFinished,
        TrialStarted,
        Waiting,
        Warned,
    )
    from kidneyseg.search.export import ExportedTrial
    from kidneyseg.search.searches import Search, begin_search
    from kidneyseg.search.study_status import BestTrial, StudyStatus

__all__ = [
    "BestTrial",
    "EpochFinished",
    "Event",
    "ExportedTrial",
    "Search",
    "Stopped",
    "StudyStatus",
    "TakenOver",
    "TrialFinished",
    "TrialStarted",
    "Waiting",
    "Warned",
    "begin_search",
]

_MODULES = {  # of every public name
    "begin_search": "searches",
    "Search": "searches",
    "BestTrial": "study_status",
    "StudyStatus": "study_status",
    "ExportedTrial": "export",
    **dict.fromkeys(
        ("Event", "TrialStarted", "EpochFinished", "TakenOver", "TrialFinished"), "events"
    ),
    **dict.fromkeys(("Waiting", "Warned", "Stopped"), "events"),
}

if not TYPE_CHECKING:  # so that a type checker refuses a name that is not there

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
