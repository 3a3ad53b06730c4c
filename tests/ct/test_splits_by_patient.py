"""Splits where some patients have several cases: none is parted, and the shares stay near."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidneyseg.ct.splits import Split, split_cases
from kidneyseg.errors import DataError
from kidneyseg.settings import DataSettings


def settings_of(**changed: object) -> DataSettings:
    return DataSettings.model_validate({"downsampling": 2, "slice_size": (16, 16), **changed})


def patients_of(sizes: list[int]) -> dict[str, str]:
    """Case names by patient: the first patient has the first `sizes[0]` cases, and so on."""
    numbered = [patient for patient, size in enumerate(sizes) for _ in range(size)]
    return {f"case_{case:05d}": f"patient {patient}" for case, patient in enumerate(numbered)}


def counts(split: Split) -> tuple[int, int, int]:
    return len(split.training), len(split.validation), len(split.test)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=3, max_size=25),
    test=st.floats(0.001, 0.999),
    validation=st.floats(0.001, 0.999),
    seed=st.integers(0, 5),
)
def test_no_patient_is_parted_and_every_use_has_one(
    sizes: list[int], test: float, validation: float, seed: int
) -> None:
    patients = patients_of(sizes)
    settings = settings_of(test_fraction=test, validation_fraction=validation, split_seed=seed)
    split = split_cases(list(patients), settings, patients=patients)
    uses = [
        {patients[name] for name in use} for use in (split.training, split.validation, split.test)
    ]
    assert all(uses)
    assert all(first.isdisjoint(second) for first, second in combinations(uses, 2))
    assert sorted(split.training + split.validation + split.test) == sorted(patients)


@given(n=st.integers(3, 60), seed=st.integers(0, 20), fraction=st.floats(0.05, 0.95))
def test_patients_with_one_case_each_are_split_as_cases_are(
    n: int, seed: int, fraction: float
) -> None:
    patients = patients_of([1] * n)
    settings = settings_of(split_seed=seed, test_fraction=fraction)
    assert split_cases(list(patients), settings, patients=patients) == split_cases(
        list(patients), settings
    )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([2] * 50, (64, 16, 20)),  # 20 of 100 and 16 of 80: exact
        ([3] * 20, (39, 9, 12)),  # 12 of 60 exact; 9.6 of 48 becomes 9
        ([30, *[1] * 20], (32, 8, 10)),  # the patient with 30 goes where there is room
        ([5, 5, 5], (5, 5, 5)),
    ],
)
def test_shares_are_as_near_as_whole_patients_allow(
    sizes: list[int], expected: tuple[int, int, int]
) -> None:
    patients = patients_of(sizes)
    for seed in range(5):
        split = split_cases(list(patients), settings_of(split_seed=seed), patients=patients)
        assert counts(split) == expected


def test_fewer_than_three_patients_are_refused() -> None:
    patients = patients_of([4, 4])
    with pytest.raises(DataError) as caught:
        split_cases(list(patients), settings_of(), patients=patients)
    assert str(caught.value) == (
        "8 labelled cases of 2 patients; expected at least 3 patients: one each for training, "
        "validation and test"
    )
