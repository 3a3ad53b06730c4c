"""Hyper-parameters that vary in a study and can change nothing in it."""

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.definition import StudyPlan
from kidneyseg.settings import Environment


def without_effect(plan: StudyPlan, environment: Environment) -> list[str]:
    """Sentences on hyper-parameters that vary in a study and can change nothing in it."""
    varied, fixed = plan.space.root, {**Hyperparameters().model_dump(), **plan.fixed}
    max_epochs = environment.training.max_epochs
    found = []
    for name in ("step_size", "gamma"):
        step = varied.get("step_size")
        smallest = min(step.ends()) if step is not None else fixed["step_size"]
        if name in varied and int(smallest) >= max_epochs:
            found.append(
                f"{name} has no effect: StepLR first decays after {smallest} epochs, and training "
                f"ends after {max_epochs} at the latest (training.max_epochs)"
            )
    if "border_sigma_px" in varied and "border_weight" not in varied and not fixed["border_weight"]:
        found.append("border_sigma_px has no effect: border_weight is 0")
    if {"alpha", "beta"} <= set(varied):
        found.append("alpha and beta vary together: under Adam only their ratio has an effect")
    elif fixed["alpha"] == 0 and "beta" in varied and "alpha" not in varied:
        found.append("beta has no effect: alpha is 0, and Adam does not feel a loss's size")
    elif fixed["beta"] == 0 and "alpha" in varied and "beta" not in varied:
        found.append("alpha has no effect: beta is 0, and Adam does not feel a loss's size")
    if fixed["beta"] == 0 and "beta" not in varied:
        found += [
            f"{name} has no effect: beta is 0, and pixel weights belong to the cross-entropy"
            for name in ("border_weight", "border_sigma_px")
            if name in varied
        ]
    return found
