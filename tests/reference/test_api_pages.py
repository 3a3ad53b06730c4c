"""The API page is built, and holds what people may use."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import kidneyseg.search

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_api_pages_hold_the_public_functions_with_their_docstrings(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="the dependency group docs is not installed")
    subprocess.run(
        [sys.executable, "-W", "error", "-m", "kidneyseg.reference", DOCUMENTS, tmp_path],
        check=True,
        capture_output=True,
        cwd=DOCUMENTS.parent,
    )
    assert (tmp_path / "index.html").is_file()
    page = (tmp_path / "kidneyseg" / "search.html").read_text(encoding="utf-8")
    for name in kidneyseg.search.__all__:
        assert f'id="{name}"' in page
    words = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "Create a study in the database or go on with it" in words  # begin_search
    assert "Work until the study holds" in words  # Search.run
    settings = (tmp_path / "kidneyseg" / "settings.html").read_text(encoding="utf-8")
    assert "Channels of every level." in settings
    assert (tmp_path / "kidneyseg" / "model" / "scan_prediction.html").is_file()
