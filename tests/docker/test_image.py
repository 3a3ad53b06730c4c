"""The image: pinned, small, not root, and built of what the repository has."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.commands import DOCKER, ROOT
from tests.machine import find_program

EXTRAS = ("s3", "prometheus", "tls")  # what the services of an installation use


@pytest.fixture(scope="module")
def steps() -> list[str]:
    """The Dockerfile's instructions, each in one line, without comments."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [line for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def final(steps: list[str]) -> list[str]:
    """The instructions of the stage that becomes the image."""
    last = max(number for number, step in enumerate(steps) if step.startswith("FROM"))
    return steps[last:]


def test_instructions_are_known_ones(steps: list[str]) -> None:
    known = {"ARG", "FROM", "ENV", "WORKDIR", "RUN", "COPY", "LABEL", "USER", "EXPOSE"}
    assert {step.split(" ")[0] for step in steps} == {*known, "HEALTHCHECK", "CMD"}


def test_the_image_has_one_stage_that_builds_and_one_that_runs(steps: list[str]) -> None:
    assert [step for step in steps if step.startswith("FROM")] == [
        "FROM python:${PYTHON} AS build",
        "FROM python:${PYTHON}",
    ]
    assert not [step for step in steps if "pip" in step and steps.index(step) > last_build(steps)]


def last_build(steps: list[str]) -> int:
    return max(number for number, step in enumerate(steps) if step.startswith("FROM"))


def test_its_python_is_one_that_the_package_admits(steps: list[str]) -> None:
    (argument,) = [step for step in steps if step.startswith("ARG PYTHON=")]
    version = re.fullmatch(r"ARG PYTHON=3\.(\d+)-slim-\w+", argument)
    assert version, argument
    assert int(version[1]) >= 11


def test_it_runs_as_a_user_who_is_not_root_named_by_number(final: list[str]) -> None:
    users = [step for step in final if step.startswith("USER")]
    assert users == ["USER 1000:1000"]  # by number: Kubernetes sees that it is not root
    assert final.index(users[0]) > max(n for n, s in enumerate(final) if s.startswith("RUN"))


def test_every_installation_is_pinned(steps: list[str]) -> None:
    installs = [each for step in steps for each in re.findall(r"pip install [^&]*", step)]
    assert len(installs) == 3
    for install in installs:
        assert "constraint constraints.txt" in install
    (own,) = [install for install in installs if "--no-deps" in install]
    assert "--build-constraint constraints.txt" in own


def test_every_library_of_the_image_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(each for name in EXTRAS for each in extras[name])]
    names = {canonical(re.split(r"[\[<>=]", line)[0]) for line in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonical(line.split("==")[0]) for line in lines if "==" in line}
    assert names - pinned == set()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_the_list_of_what_to_install_is_pyprojects(steps: list[str], tmp_path: Path) -> None:
    (step,) = [step for step in steps if "requirements.txt" in step and "tomllib" in step]
    code = re.fullmatch(r"RUN python -c '(.+)' > requirements.txt", step)
    assert code
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code[1]],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert done.stdout.splitlines() == [
        *project["dependencies"],
        *(each for name in EXTRAS for each in extras[name]),
    ]


def test_the_index_of_torch_is_a_build_argument_that_may_be_empty(steps: list[str]) -> None:
    assert any(step.startswith("ARG TORCH_INDEX=https://") for step in steps)
    (install,) = [step for step in steps if "--requirement requirements.txt" in step]
    given = re.search(r'PIP_EXTRA_INDEX_URL="\$TORCH_INDEX"', install)
    assert given
    for value in ("", "https://x"):
        script = f'{given[0]} "$PYTHON" -m pip config list'
        shell = {"TORCH_INDEX": value, "PATH": os.environ["PATH"], "PYTHON": sys.executable}
        done = subprocess.run(
            ["sh", "-c", script], env=shell, capture_output=True, encoding="utf-8", check=True
        )
        assert f":env:.extra-index-url='{value}'" in done.stdout  # which pip ignores where empty


def test_what_is_copied_exists_and_reaches_the_builder(steps: list[str]) -> None:
    copied = [
        source
        for step in steps
        if step.startswith("COPY") and "--from" not in step
        for source in step.split()[1:-1]
    ]
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in allowed
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed, source


def test_what_the_wheel_is_built_of_is_copied(steps: list[str]) -> None:
    text = "\n".join(steps)
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    for folder in (*wheel["packages"], *wheel["force-include"]):
        assert f"COPY {folder} {folder}" in text
    for file in (pyproject["project"]["readme"], *pyproject["project"]["license-files"]):
        assert re.search(rf"COPY .*{re.escape(file)}", text)


def test_its_commands_exist(final: list[str]) -> None:
    (command,) = [step for step in final if step.startswith("CMD")]
    assert json.loads(command.removeprefix("CMD ")) == ["kidneyseg-search", "--help"]
    (check,) = [step for step in final if step.startswith("HEALTHCHECK")]
    path = json.loads(check.split(" CMD ")[1])[1]
    (copy,) = [step for step in final if "healthcheck.py" in step and step.startswith("COPY")]
    assert path == f"{copy.split()[-1]}healthcheck.py"


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """A server that is well at /healthz and unwell elsewhere."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def health(url: str | None) -> subprocess.CompletedProcess[str]:
    names = {"KIDNEYSEG_HEALTH_URL": url} if url is not None else {}
    return subprocess.run(
        [sys.executable, DOCKER / "healthcheck.py"],
        env={"PATH": os.environ["PATH"], **names},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_health_is_what_the_service_answers(server: str) -> None:
    assert health(f"{server}/healthz").returncode == 0
    unwell = health(f"{server}/other")
    assert unwell.returncode == 1
    assert "503" in unwell.stderr


def test_who_answers_not_is_unwell_in_one_line() -> None:
    for url in ("http://127.0.0.1:1/healthz", "nonsense"):
        done = health(url)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1


def test_who_serves_nothing_is_well() -> None:
    assert health(None).returncode == 0
    assert health("").returncode == 0


@pytest.fixture
def make_secrets(tmp_path: Path) -> Callable[[], str]:
    def make() -> str:
        done = subprocess.run(
            [sys.executable, DOCKER / "make_secrets.py", tmp_path],
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        return done.stdout + done.stderr

    return make


def test_secrets_are_made_once_and_never_shown(
    make_secrets: Callable[[], str], tmp_path: Path
) -> None:
    told = make_secrets()
    secrets = {path.name: path.read_text(encoding="utf-8").strip() for path in tmp_path.iterdir()}
    assert set(secrets) == {"database_password", "storage", "dashboard_password"}
    for name, secret in secrets.items():
        assert name in told
        assert secret not in told
        assert len(secret) >= 24
    assert make_secrets() == "made nothing: all there\n"
    assert {
        path.name: path.read_text(encoding="utf-8").strip() for path in tmp_path.iterdir()
    } == secrets


def test_the_address_holds_the_databases_password(
    make_secrets: Callable[[], str], tmp_path: Path
) -> None:
    from kidneyseg.search.storage import parse_address

    (tmp_path / "database_password").write_text("given-before\n", encoding="utf-8")
    make_secrets()
    url = parse_address((tmp_path / "storage").read_text(encoding="utf-8").strip())
    assert (url.host, url.database, url.username) == ("database", "trials", "kidneyseg")
    assert url.password == "given-before"


def test_the_linter_has_nothing_to_say() -> None:
    told = lint(DOCKER / "Dockerfile")
    assert (told.returncode, told.stdout) == (0, "")


def test_the_linter_would_say_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\n", encoding="utf-8")
    told = lint(tmp_path / "Dockerfile")
    assert told.returncode == 1
    assert "DL3006" in told.stdout  # the image has no tag


def lint(file: Path) -> "subprocess.CompletedProcess[str]":
    # Beside this Python, as pip puts it, or from elsewhere on the machine.
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or find_program(
        "hadolint"
    )
    return subprocess.run(
        [hadolint, "--no-color", file], capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.slow
def test_the_image_is_built_and_answers() -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("no docker here")
    if subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        pytest.skip("docker is here, but no engine that runs")
    build = [docker, "build", "-f", f"{DOCKER}/Dockerfile", "-t", "kidneyseg:test", f"{ROOT}"]
    subprocess.run(build, check=True)
    done = subprocess.run(
        [docker, "run", "--rm", "--read-only", "kidneyseg:test", "id", "-u"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip() == "1000"
    subprocess.run([docker, "run", "--rm", "--read-only", "kidneyseg:test"], check=True)
