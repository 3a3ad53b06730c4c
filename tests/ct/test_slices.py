"""Slices of one size out of cases of many."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case
from kidneyseg.ct.preparation import LABEL_SCALE
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.ct.slices import PADDING_HU, SliceDataset, collate, fitting_window, image_input
from kidneyseg.settings import DataSettings

ROWS, COLUMNS = 20, 24  # of the written cases
KEPT = 5  # slices of each


@pytest.fixture
def cases(tmp_path: Path, write_case: Callable[..., Case]) -> list[PreparedCase]:
    """Two cases at 20 x 24, one at 10 x 12."""
    prepared: list[PreparedCase] = []
    for number, downsampling in enumerate((1, 1, 2)):
        settings = DataSettings(downsampling=downsampling, slice_size=(16, 16), margin_slices=1)
        cache = SliceCache(tmp_path / "cache", settings)
        case = write_case(f"case_0000{number}", seed=number)
        prepared += cache.prepare([cache.fingerprints.of_case(case)])
    return prepared


def test_every_slice_of_every_case_has_its_number(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (ROWS, COLUMNS))
    assert len(dataset) == 3 * KEPT
    assert dataset.case_names == ("case_00000", "case_00001", "case_00002")
    batch = dataset.batch(range(len(dataset)))
    assert batch.volumes.tolist() == [0] * KEPT + [1] * KEPT + [2] * KEPT
    for volume in (0, 1):
        found = batch.images[batch.volumes == volume, 0]
        np.testing.assert_array_equal(found, cases[volume].images())
        np.testing.assert_array_equal(batch.labels[batch.volumes == volume], cases[volume].labels())


def test_a_batch_has_the_order_asked_for(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (ROWS, COLUMNS))
    batch = dataset.batch([7, 2, 7])
    assert batch.volumes.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(batch.images[0, 0], cases[1].images()[2])
    np.testing.assert_array_equal(batch.images[1, 0], cases[0].images()[2])
    assert torch.equal(batch.images[2], batch.images[0])


@pytest.mark.parametrize("input_slices", [1, 3])
def test_a_data_loader_gives_the_same_batches(cases: list[PreparedCase], input_slices: int) -> None:
    dataset = SliceDataset(cases, (16, 30), input_slices)
    order = [14, 3, 0, 7, 7, 9]
    loader = DataLoader(dataset, batch_size=4, sampler=order, num_workers=0, collate_fn=collate)
    batches = list(loader)
    assert [len(batch.images) for batch in batches] == [4, 2]
    for batch, indices in zip(batches, (order[:4], order[4:]), strict=True):
        expected = dataset.batch(indices)
        for name in ("images", "labels", "inside", "volumes"):
            assert torch.equal(getattr(batch, name), getattr(expected, name))


@pytest.mark.parametrize("input_slices", [1, 3])
def test_one_slice_is_a_batch_of_one(cases: list[PreparedCase], input_slices: int) -> None:
    dataset = SliceDataset(cases, (16, 30), input_slices)
    many = dataset.batch(range(len(dataset)))
    for index in range(len(dataset)):
        one = dataset[index]
        for name in ("images", "labels", "inside", "volumes"):
            assert torch.equal(getattr(one, name)[0], getattr(many, name)[index])
            assert len(getattr(one, name)) == 1


def test_the_data_set_ends(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (16, 16))
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_types_are_those_that_are_stored(cases: list[PreparedCase]) -> None:
    batch = SliceDataset(cases, (16, 16)).batch([0, 1])
    assert batch.images.dtype == torch.int16
    assert batch.labels.dtype == torch.uint8
    assert batch.inside.dtype == torch.bool
    assert batch.volumes.dtype == torch.int64


def test_a_small_slice_is_padded_with_air_about_its_centre(cases: list[PreparedCase]) -> None:
    """20 x 24 in 24 x 31: two rows on each side, three columns before and four behind."""
    batch = SliceDataset(cases, (24, 31)).batch([3])
    inside = np.zeros((24, 31), np.bool_)
    inside[2:22, 3:27] = True
    np.testing.assert_array_equal(batch.inside[0], inside)
    np.testing.assert_array_equal(batch.images[0, 0, 2:22, 3:27], cases[0].images()[3])
    np.testing.assert_array_equal(batch.labels[0, 2:22, 3:27], cases[0].labels()[3])
    assert (batch.images[0, 0][~batch.inside[0]] == PADDING_HU).all()
    assert (batch.labels[0][~batch.inside[0]] == 0).all()


def test_a_large_slice_is_cropped_about_its_centre(cases: list[PreparedCase]) -> None:
    batch = SliceDataset(cases, (16, 19)).batch([3])
    np.testing.assert_array_equal(batch.images[0, 0], cases[0].images()[3, 2:18, 2:21])
    np.testing.assert_array_equal(batch.labels[0], cases[0].labels()[3, 2:18, 2:21])
    assert batch.inside.all()


def test_one_axis_is_padded_while_the_other_is_cropped(cases: list[PreparedCase]) -> None:
    batch = SliceDataset(cases, (18, 28)).batch([0])
    np.testing.assert_array_equal(batch.images[0, 0, :, 2:26], cases[0].images()[0, 1:19])
    assert batch.inside[0].sum() == 18 * 24


def test_cases_of_several_sizes_share_a_batch(cases: list[PreparedCase]) -> None:
    batch = SliceDataset(cases, (16, 16)).batch([0, 2 * KEPT])
    assert batch.inside.sum((1, 2)).tolist() == [16 * 16, 10 * 12]


@given(n=st.integers(1, 70), size=st.integers(1, 70))
def test_windows_share_size_and_centre(n: int, size: int) -> None:
    (source, _), (target, _) = fitting_window((n, 5), (size, 5))
    assert source.stop - source.start == target.stop - target.start == min(n, size)
    for window, length in ((source, n), (target, size)):
        before, behind = window.start, length - window.stop
        assert behind - before in {0, 1}


def test_neighbours_are_channels_about_the_labelled_slice(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (ROWS, COLUMNS), input_slices=3)
    batch = dataset.batch([KEPT + 2])
    np.testing.assert_array_equal(batch.images[0], cases[1].images()[1:4])
    np.testing.assert_array_equal(batch.labels[0], cases[1].labels()[2])


def test_neighbours_never_come_from_another_case(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (ROWS, COLUMNS), input_slices=5)
    first, last = dataset.batch([KEPT]), dataset.batch([2 * KEPT - 1])
    images = cases[1].images()
    np.testing.assert_array_equal(first.images[0], images[[0, 0, 0, 1, 2]])
    np.testing.assert_array_equal(last.images[0], images[[2, 3, 4, 4, 4]])


def test_soft_labels_are_the_share_of_kidney(cases: list[PreparedCase]) -> None:
    soft = SliceDataset(cases, (16, 16)).batch([2 * KEPT + 2]).soft_labels()
    assert soft.shape == (1, 1, 16, 16)
    assert soft.dtype == torch.float32
    assert torch.unique(soft).tolist() == [0.0, 0.5, 1.0]
    assert soft.sum() * 4 == 6 * 8  # pixels of the kidney at full resolution


def test_the_share_of_kidney_counts_every_pixel_once(
    cases: list[PreparedCase], tmp_path: Path, write_case: Callable[..., Case]
) -> None:
    narrow = DataSettings(downsampling=2, slice_size=(16, 16), margin_slices=0)
    cache = SliceCache(tmp_path / "cache", narrow)
    cases += cache.prepare([cache.fingerprints.of_case(write_case())])  # 1.7 times the share
    dataset = SliceDataset(cases, (16, 16))
    kidney = sum(int(case.labels().sum()) for case in cases) / LABEL_SCALE
    pixels = sum(case.labels().size for case in cases)
    assert dataset.kidney_fraction == pytest.approx(kidney / pixels)


def test_the_hu_window_becomes_minus_one_to_one() -> None:
    images = torch.tensor([-1024, -79, 112, 113, 304, 3071], dtype=torch.int16)
    scaled = image_input(images.reshape(1, 1, 1, -1), (-79.0, 304.0))
    expected = [-1, -1, -0.5 / 191.5, 0.5 / 191.5, 1, 1]
    assert scaled.flatten().tolist() == pytest.approx(expected)
    assert scaled.dtype == torch.float32


def test_a_batch_moves_as_a_whole(cases: list[PreparedCase]) -> None:
    batch = SliceDataset(cases, (16, 16)).batch([0]).to(torch.device("meta"))
    tensors = (batch.images, batch.labels, batch.inside, batch.volumes)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize("input_slices", [1, 5])
@pytest.mark.parametrize("slice_size", [(ROWS, COLUMNS), (16, 31)])
def test_slices_on_a_device_are_the_same(
    cases: list[PreparedCase], slice_size: tuple[int, int], input_slices: int
) -> None:
    dataset = SliceDataset(cases, slice_size, input_slices)
    check_same(dataset, dataset.on(torch.device("cpu")), torch.device("cpu"))


def test_on_the_processor_nothing_is_copied(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (16, 16))
    assert dataset.resident(torch.device("cpu")) is dataset


@pytest.mark.gpu
def test_slices_on_a_gpu_are_the_same(cases: list[PreparedCase]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use")
    device = torch.device("cuda:0")
    dataset = SliceDataset(cases, (16, 31), input_slices=3)
    check_same(dataset, dataset.resident(device), device)


@pytest.mark.parametrize(("free", "moves"), [(2, True), (1.99, False)])
def test_a_gpu_takes_slices_that_fill_half_of_its_room_at_most(
    cases: list[PreparedCase], monkeypatch: pytest.MonkeyPatch, free: float, *, moves: bool
) -> None:
    dataset = SliceDataset(cases, (16, 16))
    there = SliceDataset(cases, (16, 16))
    monkeypatch.setattr(SliceDataset, "on", lambda *_: there)
    room = int(free * dataset.n_bytes)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (room, 2 * room))
    assert (dataset.resident(torch.device("cuda:0")) is there) is moves
    assert dataset.n_bytes == 3 * KEPT * 16 * 16 * (2 + 1)


def check_same(dataset: SliceDataset, moved: SliceDataset, device: torch.device) -> None:
    """Batches on the device equal those in memory, whatever the order."""
    assert len(moved) == len(dataset)
    assert moved.case_names == dataset.case_names
    for indices in (range(len(dataset)), [7, 2, 7], [len(dataset) - 1], []):
        expected, found = dataset.batch(indices), moved.batch(indices)
        for name in ("images", "labels", "inside", "volumes"):
            tensor = getattr(found, name)
            assert tensor.device == device
            assert tensor.dtype == getattr(expected, name).dtype
            assert torch.equal(tensor.cpu(), getattr(expected, name)), name


def test_slices_are_counted_from_the_end_too(cases: list[PreparedCase]) -> None:
    dataset = SliceDataset(cases, (16, 16))
    assert torch.equal(dataset[-1].images, dataset[len(dataset) - 1].images)
