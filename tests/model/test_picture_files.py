"""Pictures as files: of the worst and the best cases, pixel for pixel, older ones replaced."""

from pathlib import Path

import numpy as np
from PIL import Image

from kidneyseg.model.picture_files import N_BEST, N_WORST, write_pictures


def test_the_worst_and_the_best_cases_are_written_pixel_for_pixel(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"case {number}" for number in range(10)]
    pictures = {name: random.integers(0, 256, (6, 9, 3), dtype=np.uint8) for name in names}
    dice = {name: number / 10 for number, name in enumerate(reversed(names))}
    write_pictures(tmp_path / "pictures", pictures, dice)
    found = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "pictures").iterdir()}
    assert sorted(found) == [*names[:N_BEST], *names[-N_WORST:]]
    for name, picture in found.items():
        assert np.array_equal(picture, pictures[name])


def test_an_earlier_epochs_pictures_are_replaced(tmp_path: Path) -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    write_pictures(tmp_path / "pictures", {"a": picture}, {"a": 0.5})
    write_pictures(tmp_path / "pictures", {"b": picture}, {"b": 0.5})
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["b.png"]
