"""Which trials are not worth finishing: the pruner that a study file names.

Decisions are those of Optuna's pruners, to the bit; they are made of a few numbers that the
database counts, where Optuna reads every running trial again at each report. Epochs are reported as
steps from 1 up, and asked about once each, in order, after the report is in the database.

Where trials are compared whatever their state, those that were handed back are left out: such a
trial goes on under a new number, with the same reports. Optuna would count both. Rungs are read
from the reports and not noted on the trial; so its last epoch, about which nobody asks, counts too.
"""

import binascii
import json
import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from optuna import pruners as optunas
from sqlalchemy import Result, Row, Select

from kidneyseg.search.pruner_queries import (
    AMONG_BESTS,
    AMONG_COMPLETE,
    AMONG_REACHED,
    EACH_REACHED,
    MINE,
)
from kidneyseg.search.pruner_settings import (
    Hyperband,
    KeepAfter,
    Median,
    NoPruner,
    Percentile,
    PrunerSettings,
    SuccessiveHalving,
    Threshold,
)
from kidneyseg.search.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruner:
    """The pruner of one study in a database."""

    settings: PrunerSettings
    storage: Storage
    study_id: int
    study_name: str  # decides the brackets, as in Optuna

    def should_prune(self, trial_id: int, epoch: int) -> bool:
        """Whether to give up a running trial that has just reported this epoch.

        One or no query. Infinite reports, which no Dice is, count as NaN.
        """
        match self.settings:
            case NoPruner():
                return False
            case Median() as median:
                return self._below_percentile(median, 50.0, trial_id, epoch)
            case Percentile() as settings:
                return self._below_percentile(settings, settings.percentile, trial_id, epoch)
            case SuccessiveHalving() as halving:
                return self._lost_halving(halving, trial_id, epoch)
            case Hyperband() as hyperband:
                return self._lost_hyperband(hyperband, trial_id, epoch)
            case Threshold() as threshold:
                return self._below_threshold(threshold, trial_id, epoch)
            case KeepAfter() as once:
                return self._not_kept(once, trial_id, epoch)

    def _below_percentile(
        self, settings: Median | Percentile, percentile: float, trial_id: int, epoch: int
    ) -> bool:
        if epoch <= settings.n_warmup_epochs:
            return False
        row = self._ask(AMONG_COMPLETE, trial_id, epoch).one()
        if row.n_complete < settings.n_startup_trials:
            return False
        if row.mine is None:  # nothing but NaN
            return True
        # As many values on either side as there are, all as near as the nearest: a percentile
        # between the trial's neighbours is the same to the bit, any other lies on the same side.
        values = [row.next_below, row.mine, row.next_above]
        counts = [row.below, row.equal, row.n - row.below - row.equal]
        others = np.repeat(np.array(values, dtype=float), counts)
        return others.size > 0 and bool(row.mine < np.nanpercentile(others, 100 - percentile))

    def _lost_halving(self, settings: SuccessiveHalving, trial_id: int, epoch: int) -> bool:
        if find_rung(settings, epoch) is None:
            return False
        row = self._ask(AMONG_REACHED, trial_id, epoch).one()
        return row.mine is None or not _promoted(row.better, row.n, settings.reduction_factor)

    def _lost_hyperband(self, settings: Hyperband, trial_id: int, epoch: int) -> bool:
        rung = find_rung(settings, epoch)
        if rung is None:
            return False
        rows = self._ask(EACH_REACHED, trial_id, epoch).all()
        bracket_of = {row.trial_id: self._bracket(settings, row) for row in rows}
        mine = bracket_of.get(trial_id)
        if mine is None or rung < mine:  # None: taken over meanwhile, as the next write will say
            return False
        rivals = {
            row.trial_id: row.dice
            for row in rows
            if bracket_of[row.trial_id] == mine and row.dice is not None
        }
        if trial_id not in rivals:  # NaN
            return True
        better = sum(dice > rivals[trial_id] for dice in rivals.values())
        return not _promoted(better, len(rivals), settings.reduction_factor)

    def _bracket(self, settings: Hyperband, row: Row[Any]) -> int:
        """The bracket of a trial: of the first number that its hyper-parameters had."""
        first = json.loads(row.lineage)[0] if row.lineage else row.number
        return find_bracket(settings, self.study_name, first)

    def _below_threshold(self, settings: Threshold, trial_id: int, epoch: int) -> bool:
        if epoch <= settings.n_warmup_epochs:
            return False
        dice = self._ask(MINE, trial_id, epoch).scalar_one()
        return dice is None or dice < settings.lower

    def _not_kept(self, settings: KeepAfter, trial_id: int, epoch: int) -> bool:
        if epoch != settings.epoch:
            return False
        row = self._ask(AMONG_BESTS, trial_id, epoch).one()
        if row.n <= settings.n_startup_trials:
            return False
        return row.mine is None or row.better >= settings.share * row.n

    def _ask(self, query: Select[*tuple[Any, ...]], trial_id: int, epoch: int) -> Result[Any]:
        values = {"study": self.study_id, "trial": trial_id, "epoch": epoch}
        return self.storage.read(query.params(values))


def find_rung(settings: SuccessiveHalving | Hyperband, epoch: int) -> int | None:
    """The k for which this epoch is `min_epochs` x `reduction_factor`^k, if there is one."""
    at, rung = settings.min_epochs, 0
    while at < epoch:
        at, rung = at * settings.reduction_factor, rung + 1
    return rung if at == epoch else None


def find_bracket(settings: Hyperband, study: str, number: int) -> int:
    """The bracket of a trial, whose first decision is at rung of the same number: Optuna's draw.

    A bracket s of S, counted from the one that decides last, holds ceil(S x factor^s / (s + 1))
    parts of the trials (Li et al., "Hyperband", JMLR 18, 2018, algorithm 1).
    """
    factor = settings.reduction_factor
    n = math.floor(math.log(settings.max_epochs / settings.min_epochs, factor)) + 1
    shares = [math.ceil(n * factor**s / (s + 1)) for s in reversed(range(n))]
    place = binascii.crc32(f"{study}_{number}".encode()) % sum(shares)
    return next(bracket for bracket, end in enumerate(accumulate(shares)) if place < end)


def build_pruner(settings: PrunerSettings) -> optunas.BasePruner:
    """Optuna's own pruner of these settings; NopPruner where Optuna has none."""
    match settings:
        case NoPruner() | KeepAfter():
            return optunas.NopPruner()
        case Median():
            # Optuna prunes at the first step that is not below n_warmup_steps.
            return optunas.MedianPruner(
                n_startup_trials=settings.n_startup_trials,
                n_warmup_steps=settings.n_warmup_epochs + 1,
            )
        case Percentile():
            return optunas.PercentilePruner(
                settings.percentile,
                n_startup_trials=settings.n_startup_trials,
                n_warmup_steps=settings.n_warmup_epochs + 1,
            )
        case SuccessiveHalving():
            return optunas.SuccessiveHalvingPruner(
                min_resource=settings.min_epochs, reduction_factor=settings.reduction_factor
            )
        case Hyperband():
            return optunas.HyperbandPruner(
                min_resource=settings.min_epochs,
                max_resource=settings.max_epochs,
                reduction_factor=settings.reduction_factor,
            )
        case Threshold():
            return optunas.ThresholdPruner(
                lower=settings.lower, n_warmup_steps=settings.n_warmup_epochs + 1
            )


def _promoted(better: int, n: int, factor: int) -> bool:
    """Whether a trial is in the top 1 / factor of n; the best one always is."""
    return better <= max(n // factor - 1, 0)
