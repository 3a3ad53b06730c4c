"""What a hyper-parameter is, in the words that stand below it where it is defined."""

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.space import NETWORK
from kidneyseg.settings import NetworkSettings


def meaning(name: str) -> str:
    """The meaning of a hyper-parameter or of a varied network setting; empty for any other name."""
    part = NetworkSettings if name.startswith(NETWORK) else Hyperparameters
    field = part.model_fields.get(name.removeprefix(NETWORK))
    return " ".join((field.description or "").split()) if field else ""
