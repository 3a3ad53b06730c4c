"""`kidneyseg-search dashboard`, as a service starts and stops it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from kidneyseg.cli.main import kidneyseg_search
from kidneyseg.search.storage import open_storage

PROGRAM = "import sys; from kidneyseg.cli.main import kidneyseg_search as m; sys.exit(m())"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database and the dashboard's password."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIDNEYSEG_STORAGE", raising=False)
    open_storage(f"sqlite:///{tmp_path}/runs/studies.db").engine.dispose()
    password = tmp_path / "password"
    password.write_text("correct horse battery\n", encoding="utf-8")
    password.chmod(0o600)
    return tmp_path


@pytest.fixture
def served(runs: Path) -> Iterator[subprocess.Popen[str]]:
    command = ["dashboard", "--host", "0.0.0.0", "--port", "0", "--password-file", "password"]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command],
        cwd=runs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        yield process
        process.kill()


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is of POSIX")
def test_a_service_starts_answers_and_ends(served: subprocess.Popen[str]) -> None:
    assert served.stdout is not None
    line = served.stdout.readline()
    found = re.match(r"(http://127\.0\.0\.1:\d+/) shows sqlite:///.*studies\.db; Ctrl-C ends", line)
    assert found, line
    with urlopen(f"{found[1]}healthz", timeout=20) as answer:
        assert answer.read() == b"ok\n"
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{found[1]}api/studies", timeout=20)
    served.send_signal(signal.SIGTERM)
    _, said = served.communicate(timeout=20)
    assert served.returncode == 143
    assert "the password crosses the network unencrypted" in said
    assert "correct horse" not in line + said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--password-file"),
        (["--password-file", "nope"], "--password-file nope: cannot be read"),
        (["--tls-certificate", "chain.pem"], "expected both"),
        (["--password-file", "password", "--user", "a:b"], "--user 'a:b'"),
        (["--port", "70000"], "--port 70000: expected 0 to 65535"),
    ],
)
def test_what_a_person_can_put_right_is_one_line(
    arguments: list[str], words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(["dashboard", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
