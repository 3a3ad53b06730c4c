"""The reference pages say what the code says."""

import shutil
from pathlib import Path

import pytest

from kidneyseg.reference.__main__ import main
from kidneyseg.reference.pages import make_pages

DOCUMENTS = Path(__file__).parents[2] / "docs"
NAMES = sorted(path.name for path in make_pages(DOCUMENTS))


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_page_is_what_the_code_gives(name: str) -> None:
    made = make_pages(DOCUMENTS)[DOCUMENTS / name]
    written = (DOCUMENTS / name).read_text(encoding="utf-8")
    assert written == made, f"docs/{name} is not what the code says: run make docs"


def test_pages_are_written_where_they_differ_and_left_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(DOCUMENTS / "settings.md", tmp_path)
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path)])
    main()
    assert capsys.readouterr().err == f"written: {tmp_path / 'commands.md'}\n"
    main()
    assert capsys.readouterr().err == ""
