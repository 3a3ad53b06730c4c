"""The wheel carries what lies beside the package in a checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_carries_studies_search_spaces_and_environments(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    subprocess.run(
        [
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
            *("--outdir", str(tmp_path), str(ROOT)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("studies", "search_spaces", "environments"):
        shipped = {path.name for path in (ROOT / folder).glob("*.toml")}
        assert shipped
        assert {f"kidneyseg/{folder}/{name}" for name in shipped} <= names
    assert not any(name.startswith("tests/") for name in names)
