"""Which trials are not worth finishing: the pruner that a study file names."""

from optuna.pruners import BasePruner, MedianPruner, NopPruner

from kidneyseg.search.pruner_settings import Median, NoPruner, PrunerSettings


def build_pruner(settings: PrunerSettings) -> BasePruner:
    """Optuna's pruner of these settings. Epochs are reported as steps from 1 up."""
    match settings:
        case NoPruner():
            return NopPruner()
        case Median():
            # Optuna prunes at the first step that is not below n_warmup_steps.
            return MedianPruner(
                n_startup_trials=settings.n_startup_trials,
                n_warmup_steps=settings.n_warmup_epochs + 1,
            )
