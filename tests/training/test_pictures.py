"""Pictures: both outlines where the masks end, on the slice with most kidney."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.training.pictures import (
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    ZOOM,
    fullest_slices,
    outline,
)
from kidneyseg.training.tensorboard import TensorBoardLog
from kidneyseg.training.trainer import Training


def test_outlines_run_along_the_inner_border_of_each_mask() -> None:
    image = np.full((10, 12), -1, np.float32)
    truth, predicted = np.zeros((2, 10, 12), bool)
    truth[2:5, 1:5] = True
    predicted[6:9, 6:11] = True
    picture = outline(image, truth, predicted)
    assert picture.shape == (10 * ZOOM, 12 * ZOOM, 3)
    for mask, colour, (rows, columns) in (
        (truth, TRUE_COLOUR, (3, 4)),
        (predicted, PREDICTED_COLOUR, (3, 5)),
    ):
        coloured = (picture == colour).all(-1)
        assert coloured.sum() == 2 * (rows + columns) * ZOOM - 4  # a frame one pixel wide
        assert not coloured[~mask.repeat(ZOOM, 0).repeat(ZOOM, 1)].any()
    assert (picture[0, 0] == 0).all()


def test_grey_spans_the_window() -> None:
    image = np.array([[-1.0, 0.0, 1.0, 5.0]], np.float32)
    nothing = np.zeros((1, 4), bool)
    assert outline(image, nothing, nothing)[0, ::ZOOM, 0].tolist() == [0, 127, 255, 255]


def test_the_fullest_slice_of_each_case_is_chosen(
    tiny_slices: tuple[SliceDataset, SliceDataset],
) -> None:
    slices = tiny_slices[0]
    chosen = fullest_slices(slices)
    assert tuple(chosen) == slices.case_names
    amounts = [int(slices[index].labels.sum()) for index in range(len(slices))]
    for volume, index in enumerate(chosen.values()):
        of_case = [a for a, v in zip(amounts, slices.volumes.tolist(), strict=True) if v == volume]
        assert amounts[index] == max(of_case) > 0
        assert slices.volumes[index] == volume


def test_a_training_s_pictures_are_in_its_log(
    build_training: Callable[..., Training], tmp_path: Path
) -> None:
    training = build_training()
    next(training.epochs())
    with TensorBoardLog(tmp_path) as log:
        log.add_pictures(training.pictures(), 1)
    found = EventAccumulator(str(tmp_path / "validation"), size_guidance={"images": 0})
    found.Reload()
    assert found.Tags()["images"] == ["case_00003"]
    (event,) = found.Images("case_00003")
    assert (event.width, event.height) == (32 * ZOOM, 32 * ZOOM)
