"""What a network and its losses take, made of the slices as they are stored."""

from dataclasses import dataclass

from torch import Tensor

from kidneyseg.ct.slices import SliceBatch, image_input


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceInputs:
    """Some slices, ready for a network and its losses."""

    images: Tensor  # (N, C, H, W) float32 in [-1, 1]
    labels: Tensor  # (N, 1, H, W) float32 in [0, 1]; share of kidney, 0 on padding
    inside: Tensor  # (N, 1, H, W) bool; False on padding
    weights: Tensor | None = None  # (N, 1, H, W) of the pixels, where they are computed already

    def part(self, first: int, end: int) -> "SliceInputs":
        """Some of the slices."""
        return SliceInputs(
            images=self.images[first:end],
            labels=self.labels[first:end],
            inside=self.inside[first:end],
            weights=None if self.weights is None else self.weights[first:end],
        )

    def kidney(self) -> Tensor:  # (N, 1, H, W) bool
        """A pixel is kidney when at least half of it is; padding never is."""
        return (self.labels >= 0.5) & self.inside


def slice_inputs(batch: SliceBatch, hu_window: tuple[float, float]) -> SliceInputs:
    """Scale HU by the window and labels to shares."""
    return SliceInputs(
        images=image_input(batch.images, hu_window),
        labels=batch.soft_labels(),
        inside=batch.inside.unsqueeze(1),
    )
