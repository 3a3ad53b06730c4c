"""Which case is used for what, and that it stays so."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidneyseg.ct.splits import Split, Stratum, read_split, split_cases, write_split
from kidneyseg.errors import DataError
from kidneyseg.settings import DataSettings


def split_settings(**changed: object) -> DataSettings:
    return DataSettings.model_validate({"downsampling": 2, "slice_size": (16, 16), **changed})


def names(n: int) -> list[str]:
    return [f"case_{number:05d}" for number in range(n)]


@pytest.mark.parametrize(
    ("n", "counts"),
    [
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (5, (3, 1, 1)),
        (12, (8, 2, 2)),
        (136, (87, 22, 27)),
        (210, (134, 34, 42)),
    ],
)
def test_shares_are_the_nearest_whole_numbers(n: int, counts: tuple[int, int, int]) -> None:
    split = split_cases(names(n), split_settings())
    assert (len(split.training), len(split.validation), len(split.test)) == counts


@given(
    n=st.integers(3, 60),
    test=st.floats(0.001, 0.999),
    validation=st.floats(0.001, 0.999),
    seed=st.integers(0, 5),
)
def test_every_case_has_one_use_and_every_use_a_case(
    n: int, test: float, validation: float, seed: int
) -> None:
    settings = split_settings(test_fraction=test, validation_fraction=validation, split_seed=seed)
    split = split_cases(names(n), settings)
    assert sorted(split.training + split.validation + split.test) == names(n)
    assert split.training
    assert split.validation
    assert split.test


def test_half_a_case_goes_up() -> None:
    split = split_cases(names(10), split_settings(test_fraction=0.25, validation_fraction=0.5))
    assert (len(split.training), len(split.validation), len(split.test)) == (3, 4, 3)


def test_the_split_is_the_same_on_every_machine() -> None:
    """Written down once: a change here would open the test cases of every study there is."""
    split = split_cases(names(10), split_settings())
    assert split.test == ("case_00000", "case_00009")
    assert split.validation == ("case_00003", "case_00006")


def test_the_order_of_names_does_not_matter() -> None:
    assert split_cases(names(20)[::-1], split_settings()) == split_cases(
        names(20), split_settings()
    )


def test_another_seed_is_another_split() -> None:
    splits = [split_cases(names(20), split_settings(split_seed=seed)) for seed in range(5)]
    assert len({split.test for split in splits}) == 5
    assert len({split.fingerprint for split in splits}) == 5


def test_the_fingerprint_tells_uses_apart() -> None:
    split = split_cases(names(6), split_settings())
    exchanged = split.model_copy(update={"training": split.test, "test": split.training})
    assert exchanged.fingerprint != split.fingerprint
    assert split.model_copy(update={"seed": 1}).fingerprint == split.fingerprint


@pytest.mark.parametrize(
    ("n", "found"), [(0, "0 labelled cases"), (1, "1 labelled case "), (2, "2 labelled cases")]
)
def test_too_few_cases_are_refused(n: int, found: str) -> None:
    with pytest.raises(DataError, match=f"^{found}.*expected at least 3"):
        split_cases(names(n), split_settings())


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "splits" / "evaluation_data.json"
    split = split_cases(names(12), split_settings(split_seed=4), data="abc")
    write_split(split, path)
    assert read_split(path) == split
    assert json.loads(path.read_text(encoding="utf-8"))["test"] == list(split.test)


def test_writing_the_same_split_again_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_data.json"
    split = split_cases(names(12), split_settings())
    write_split(split, path)
    before = path.stat()
    write_split(split, path)
    assert path.stat() == before


def test_another_split_in_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_data.json"
    write_split(split_cases(names(12), split_settings(), data="abc"), path)
    before = path.read_text(encoding="utf-8")
    other = split_cases(names(12), split_settings(split_seed=1), data="abc")
    with pytest.raises(DataError) as caught:
        write_split(other, path)
    assert str(caught.value).startswith(f"{path}: holds another split; keep it, and")
    changed = split_cases(names(12), split_settings(), data="changed")
    with pytest.raises(DataError) as caught:
        write_split(changed, path)
    assert str(caught.value).startswith(f"{path}: the data folder has changed since")
    assert path.read_text(encoding="utf-8") == before


def test_the_hash_is_of_the_names_and_their_uses(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_data.json"
    split = split_cases(names(6), split_settings())
    write_split(split, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    uses = "\n".join(
        part for use in ("training", "validation", "test") for part in (use, *content[use])
    )
    assert content["sha256"] == hashlib.sha256(uses.encode()).hexdigest()


def move_a_test_case(content: dict[str, list[str]]) -> None:
    content["training"].append(content["test"].pop())


def test_a_test_case_moved_by_hand_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_data.json"
    split = split_cases(names(12), split_settings())
    write_split(split, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    move_a_test_case(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="its names were changed after it was written"):
        write_split(split, path)


def edited(**changed: object) -> str:
    split = split_cases(names(4), split_settings())
    return json.dumps(
        {**json.loads(split.model_dump_json()), "sha256": split.fingerprint, **changed}
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "JSON: Invalid JSON"),
        (edited()[:-20], "JSON: Invalid JSON"),
        (edited(test="case_00001"), "test: Input should be a valid array"),
        (edited(seed="one"), "seed: Input should be a valid integer"),
        (edited(sha256=None), "sha256: Input should be a valid string"),
        (edited(note="mine"), "note: Extra inputs are not permitted"),
        ("{}", "data: Field required"),
        ("\udcff", "can't decode byte"),
    ],
)
def test_a_file_that_is_no_split_is_refused_in_one_line(
    tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "evaluation_data.json"
    path.write_text(content, errors="surrogateescape", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_split(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not a split that this program wrote (")
    assert reason in message
    assert "\n" not in message


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_split(tmp_path / "evaluation_data.json")


def test_names_of_any_script_are_kept(tmp_path: Path) -> None:
    split = Split(data="", seed=0, training=("Fäll_1",), validation=("症例",), test=("c",))
    write_split(split, tmp_path / "evaluation_data.json")
    assert read_split(tmp_path / "evaluation_data.json") == split


def strata_of(n: int, seed: int) -> dict[str, Stratum]:
    random = np.random.default_rng(seed)
    return {name: (int(random.integers(3)), int(random.integers(3))) for name in names(n)}


@pytest.mark.parametrize(
    ("n", "counts"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (12, (8, 2, 2)), (136, (87, 22, 27))]
)
def test_strata_leave_the_shares_exact(n: int, counts: tuple[int, int, int]) -> None:
    for seed in range(5):
        settings = split_settings(split_seed=seed)
        split = split_cases(names(n), settings, strata=strata_of(n, seed))
        assert (len(split.training), len(split.validation), len(split.test)) == counts


@pytest.mark.parametrize("n", [12, 40, 136])
@pytest.mark.parametrize("seed", range(5))
def test_every_use_has_its_share_of_every_stratum(n: int, seed: int) -> None:
    """To within one case, of each stratum and of each slice thickness."""
    strata = strata_of(n, seed)
    split = split_cases(names(n), split_settings(split_seed=seed), strata=strata)
    for kind in (lambda stratum: stratum, lambda stratum: stratum[0]):
        all_ = Counter(kind(strata[name]) for name in names(n))
        test = Counter(kind(strata[name]) for name in split.test)
        rest = all_ - test
        validation = Counter(kind(strata[name]) for name in split.validation)
        for stratum in all_:
            assert abs(test[stratum] - all_[stratum] * len(split.test) / n) < 1
            expected = rest[stratum] * len(split.validation) / (n - len(split.test))
            assert abs(validation[stratum] - expected) < 1


def test_a_small_set_is_not_lopsided() -> None:
    """Ten thick and five thin cases: three test cases are always two thick ones and a thin one."""
    strata: dict[str, Stratum] = {name: (int(k < 5), 0) for k, name in enumerate(names(15))}
    tests = [
        split_cases(names(15), split_settings(split_seed=seed), strata=strata).test
        for seed in range(20)
    ]
    assert {sum(strata[name][0] for name in test) for test in tests} == {1}
    assert len(set(tests)) > 15


def test_strata_keep_patients_together_and_leave_nobody_out() -> None:
    patients = {name: f"patient {k // 2}" for k, name in enumerate(names(30))}
    strata = strata_of(30, 1)
    split = split_cases(names(30), split_settings(), patients=patients, strata=strata)
    uses = [{patients[name] for name in use} for use in (split.training, split.validation)]
    assert uses[0].isdisjoint(uses[1])
    assert sorted(split.training + split.validation + split.test) == names(30)
    assert len(split.test) == 6


@pytest.mark.parametrize("strata", [None, strata_of(31, 0)])
def test_folds_part_the_development_cases(strata: dict[str, Stratum] | None) -> None:
    splits = [
        split_cases(names(31), split_settings(folds=5, fold=fold), strata=strata)
        for fold in range(5)
    ]
    assert len({split.test for split in splits}) == 1
    development = set(names(31)) - set(splits[0].test)
    validation = [name for split in splits for name in split.validation]
    assert sorted(validation) == sorted(development)
    assert {len(split.validation) for split in splits} == {5}
    for split in splits:
        assert set(split.training) == development - set(split.validation)
    assert splits[0].test == split_cases(names(31), split_settings(), strata=strata).test


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.folds = 5: more than the 4 patients"):
        split_cases(names(5), split_settings(folds=5))
