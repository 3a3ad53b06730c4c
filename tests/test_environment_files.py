"""Environments by name, and what `--set` changes in them."""

from pathlib import Path

import pytest

from kidneyseg.environment_files import load_environment, split_assignments, with_folders
from kidneyseg.errors import SettingsError
from kidneyseg.settings import NetworkSettings

MINE = "[data]\ndownsampling = 2\nslice_size = [64, 64]\n"


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return str(path)


def test_cluster_is_the_reports_full_configuration() -> None:
    environment = load_environment("cluster", {})
    assert environment.network == NetworkSettings()
    assert environment.data.downsampling == 2
    assert environment.data.slice_size == (256, 256)
    assert (environment.training.max_epochs, environment.training.patience) == (6, 2)


def test_local_is_smaller_than_cluster_and_otherwise_alike() -> None:
    local, cluster = load_environment("local", {}), load_environment("cluster", {})
    assert local.network.filters < cluster.network.filters
    assert local.data.slice_size < cluster.data.slice_size
    assert local.data.hu_window == cluster.data.hu_window


def test_a_setting_replaces_the_files(mine: str) -> None:
    environment = load_environment(mine, {"training.patience": 5, "data.margin_slices": 3})
    assert environment.training.patience == 5
    assert environment.data.margin_slices == 3
    assert environment.data.slice_size == (64, 64)


def test_pixel_size_replaces_downsampling_and_the_other_way_round(mine: str) -> None:
    by_size = load_environment(mine, {"data.spacing_mm": 3.0}).data
    assert (by_size.spacing_mm, by_size.downsampling) == (3.0, None)
    by_factor = load_environment("local", {"data.downsampling": 4}).data
    assert (by_factor.spacing_mm, by_factor.downsampling) == (None, 4)


def test_both_pixel_size_and_downsampling_are_refused(mine: str) -> None:
    both = {"data.spacing_mm": 3.0, "data.downsampling": 4}
    with pytest.raises(SettingsError, match="--set: data: give exactly one of downsampling"):
        load_environment(mine, both)


def test_a_fault_in_the_file_is_told_of_the_file_and_one_in_a_setting_of_the_setting(
    tmp_path: Path, mine: str
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(MINE + "[training]\npatience = 0\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"broken\.toml: training\.patience = 0: expected"):
        load_environment(str(broken), {"training.patience": 3})
    with pytest.raises(SettingsError, match=r"^--set: training\.patience = 0: expected"):
        load_environment(mine, {"training.patience": 0})
    with pytest.raises(SettingsError, match=r"^--set: unknown key training\.patence; .*patience"):
        load_environment(mine, {"training.patence": 3})


def test_plain_names_are_hyperparameters_and_dotted_ones_settings() -> None:
    given = {"learning_rate": 0.1, "training.patience": 3, "data.slice_size": [32, 32]}
    hyperparameters, settings = split_assignments(given)
    assert hyperparameters == {"learning_rate": 0.1}
    assert settings == {"training.patience": 3, "data.slice_size": [32, 32]}


@pytest.mark.parametrize("key", ["lr", "training", "trainng.patience", "learning_rate.x"])
def test_a_name_that_is_neither_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match=rf"--set {key}: expected a hyper-parameter \(learning"):
        split_assignments({key: 1})


def test_the_data_folder_of_the_command_line_comes_first(mine: str) -> None:
    environment = load_environment(mine, {"data.folder": "a"})
    assert with_folders(environment, data=None).data.folder == Path("a")
    assert with_folders(environment, data=Path("b")).data.folder == Path("b")
