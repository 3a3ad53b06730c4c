"""The image's commands, run as the image runs them: from the wheel, with an empty environment.

Stands in for the image where no engine builds it: the wheel lies in a virtual environment of its
own, the checkout is out of sight, and no variable but those of the image is set.
"""

import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kidneyseg.search.storage import open_storage
from tests.docker.commands import DOCKER, ROOT
from tests.postgres_server import free_port

pytestmark = pytest.mark.slow

PROGRAM = "import sys; from kidneyseg.cli.main import {0} as program; sys.exit(program())"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel, beside the libraries of this one."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("image")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*build, "--outdir", folder, ROOT], check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    return folder / "venv" / "bin" / "python"


@pytest.fixture
def image(python: Path, tmp_path: Path) -> "Image":
    return Image(python, tmp_path)


class Image:
    """Runs commands as a container does."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python, self._folder = str(python), folder

    def command(self, *arguments: str) -> list[str]:
        program = arguments[0].replace("-", "_")
        if program.startswith("kidneyseg"):
            return [self._python, "-c", PROGRAM.format(program), *arguments[1:]]
        return [self._python, *arguments]

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            cwd=self._folder,
            env={"HOME": str(self._folder), **variables},
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=120,
        )

    @contextmanager
    def serving(self, url: str, *arguments: str, **variables: str) -> Iterator[None]:
        """Run a server until the block ends; its health check must pass before."""
        log = (self._folder / "server.log").open("wb")
        with (
            log,
            subprocess.Popen(
                self.command(*arguments),
                cwd=self._folder,
                env={"HOME": str(self._folder), **variables},
                stdout=log,
                stderr=log,
            ) as server,
        ):
            try:
                deadline = time.monotonic() + 120
                while (asked := self.healthy(url)).returncode != 0:
                    said = (self._folder / "server.log").read_text(encoding="utf-8")
                    assert server.poll() is None, said
                    assert time.monotonic() < deadline, (asked.stderr, said)
                    time.sleep(0.5)
                yield
            finally:
                server.terminate()
                server.wait(60)

    def healthy(self, url: str) -> "subprocess.CompletedProcess[str]":
        return self.run(str(DOCKER / "healthcheck.py"), KIDNEYSEG_HEALTH_URL=url)


def test_it_is_the_wheel_that_runs(image: Image, python: Path) -> None:
    done = image.run("-c", "import kidneyseg; print(kidneyseg.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(python.parents[1]), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("kidneyseg-search", "--help"),
        ("kidneyseg-search", "worker", "--help"),
        ("kidneyseg", "predict", "--help"),
    ],
    ids=" ".join,
)
def test_it_answers(image: Image, arguments: tuple[str, ...]) -> None:
    done = image.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_shipped_studies_and_environments_are_found(image: Image) -> None:
    done = image.run("kidneyseg-search", "submit", "--study", "lr_loss", "--n-trials", "0")
    assert (done.returncode, "--n-trials 0: expected 1 or more" in done.stderr) == (2, True)
    done = image.run("kidneyseg-search", "submit", "--study", "nope", "--n-trials", "1")
    assert (done.returncode, "lr_loss" in done.stderr) == (2, True), done.stderr


def test_the_dashboard_asks_for_its_password_and_tells_its_health(
    image: Image, tmp_path: Path
) -> None:
    secrets, port = tmp_path / "secrets", free_port()
    secrets.mkdir()
    assert image.run(str(DOCKER / "make_secrets.py"), str(secrets)).returncode == 0
    database = f"sqlite:///{tmp_path}/studies.db"
    open_storage(database).engine.dispose()
    (tmp_path / "storage").write_text(database, encoding="utf-8")
    (tmp_path / "storage").chmod(0o600)
    command = ("dashboard", "--host", "0.0.0.0", "--port", str(port))
    password = ("--password-file", str(secrets / "dashboard_password"))
    storage = {"KIDNEYSEG_STORAGE_FILE": str(tmp_path / "storage")}
    address = f"http://127.0.0.1:{port}"
    with image.serving(f"{address}/healthz", "kidneyseg-search", *command, *password, **storage):
        assert "401" in image.healthy(address).stderr


def test_tensorboard_serves(image: Image, tmp_path: Path) -> None:
    port = free_port()
    options = ("--logdir", str(tmp_path), "--port", str(port))
    with image.serving(f"http://127.0.0.1:{port}/", "-m", "tensorboard.main", *options):
        assert image.healthy(f"http://127.0.0.1:{port}/").returncode == 0
