"""Files that are whole or not there, whoever else writes them and whenever the power goes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kidneyseg.files import is_disk_full, replacing, replacing_folder, write_text

Replacing = Callable[[Path], AbstractContextManager[Path]]

KILLED = """
import os, signal, sys
from pathlib import Path
from kidneyseg import files

with getattr(files, sys.argv[1])(Path(sys.argv[2])) as temporary:
    target = temporary / "inside" if temporary.is_dir() else temporary
    target.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write(temporary: Path, text: str) -> None:
    """Write a file, or a folder with one."""
    (temporary / "inside" if temporary.is_dir() else temporary).write_text(text, encoding="utf-8")


def fail_halfway(replacement: AbstractContextManager[Path], error: BaseException) -> None:
    with replacement as temporary:
        write(temporary, "half")
        raise error


def content(path: Path) -> dict[str, str]:
    """What lies below a folder, by name."""
    return {
        str(p.relative_to(path)): p.read_text(encoding="utf-8")
        for p in path.rglob("*")
        if p.is_file()
    }


BOTH = pytest.mark.parametrize(
    ("replace", "name"),
    [(replacing, "result"), (replacing_folder, "result/inside")],
    ids=["file", "folder"],
)


@BOTH
def test_what_is_written_takes_its_place(tmp_path: Path, replace: Replacing, name: str) -> None:
    for text in ("first", "second"):
        with replace(tmp_path / "deep" / "result") as temporary:
            write(temporary, text)
        assert content(tmp_path / "deep") == {name: text}


@BOTH
def test_until_the_end_the_old_one_stays(tmp_path: Path, replace: Replacing, name: str) -> None:
    with replace(tmp_path / "result") as temporary:
        write(temporary, "old")
    with replace(tmp_path / "result") as temporary:
        write(temporary, "new")
        assert (tmp_path / name).read_text(encoding="utf-8") == "old"


@BOTH
def test_an_error_leaves_what_was_there(tmp_path: Path, replace: Replacing, name: str) -> None:
    with replace(tmp_path / "result") as temporary:
        write(temporary, "old")
    with pytest.raises(OSError, match="disk full"):
        fail_halfway(replace(tmp_path / "result"), OSError("disk full"))
    assert content(tmp_path) == {name: "old"}


@BOTH
def test_an_error_at_the_first_time_leaves_nothing(
    tmp_path: Path, replace: Replacing, name: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_halfway(replace(tmp_path / "result"), KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_two_who_write_at_once_do_not_meet(tmp_path: Path, replace: Replacing, name: str) -> None:
    """Containers that share a disk may have the same process id."""
    with replace(tmp_path / "result") as first:
        write(first, "first")
        with replace(tmp_path / "result") as second:
            write(second, "second")
        assert (tmp_path / name).read_text(encoding="utf-8") == "second"
    assert content(tmp_path) == {name: "first"}


@BOTH
def test_killed_in_the_middle_the_old_one_stays(
    tmp_path: Path, replace: Replacing, name: str
) -> None:
    with replace(tmp_path / "result") as temporary:
        write(temporary, "old")
    function = "replacing_folder" if (tmp_path / "result").is_dir() else "replacing"
    arguments = [function, str(tmp_path / "result")]
    child = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, timeout=60)
    assert child.returncode == -9
    assert (tmp_path / name).read_text(encoding="utf-8") == "old"


def test_files_that_the_new_folder_lacks_are_gone(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "stale").write_text("old", encoding="utf-8")
    with replacing_folder(tmp_path / "result") as temporary:
        write(temporary, "new")
    assert content(tmp_path) == {"result/inside": "new"}


def test_text_is_written_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "notes" / "text.txt", "Zürich, 37 °C\n")
    assert (tmp_path / "notes" / "text.txt").read_text(encoding="utf-8") == "Zürich, 37 °C\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_known_by_whatever_it_led_to() -> None:
    with pytest.raises(RuntimeError) as caught:
        _fail_over_a_full_disk()
    assert is_disk_full(caught.value)
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EIO, "the disk is broken"))


def _fail_over_a_full_disk() -> None:
    try:
        os.write(os.open("/dev/full", os.O_WRONLY), b"more")
    except OSError as error:
        raise RuntimeError("not kept") from error
