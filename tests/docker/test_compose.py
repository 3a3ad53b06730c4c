"""The installation on one machine: what is reachable, what is secret, what each service runs."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.docker.commands import DOCKER, our_commands, parse, shell_blocks
from tests.machine import find_program

KNOWN = {
    *("image", "build", "init", "restart", "read_only", "tmpfs", "cap_drop", "security_opt"),
    *("logging", "command", "entrypoint", "environment", "volumes", "ports", "healthcheck"),
    *("stop_grace_period", "shm_size", "depends_on", "profiles", "deploy"),
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml as Compose reads it without a .env file."""
    return interpolated(DOCKER / "compose.yaml", {})


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return dict(compose["services"])


def interpolated(path: Path, variables: dict[str, str]) -> dict[str, Any]:
    """A Compose file with ${NAME:-default} and ${NAME-default} filled in."""

    def value(found: re.Match[str]) -> str:
        name, colon, default = found[1], found[2], found[3]
        given = variables.get(name)
        return default if given is None or (colon and not given) else given

    text = re.sub(r"\$\{(\w+)(:?)-([^}]*)\}", value, path.read_text(encoding="utf-8"))
    assert "${" not in text
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def environment_file(path: Path) -> dict[str, str]:
    """A .env file whose commented lines count: every setting of the example at once."""
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(lines)


def test_services_have_keys_that_compose_knows(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert set(service) <= KNOWN, name


def test_every_command_of_a_service_exists_with_its_options(
    services: dict[str, Any],
) -> None:
    with_data = interpolated(DOCKER / "compose.yaml", environment_file(DOCKER / ".env.example"))[
        "services"
    ]
    for given in (services, with_data):
        lines = [service["command"] for service in given.values() if "command" in service]
        ours = [line for line in lines if str(line).startswith("kidneyseg")]
        assert [parse(line) for line in ours] == ["worker", "dashboard"]
    assert "--data /data --environment cluster" in with_data["worker"]["command"]


def test_commands_in_the_readme_exist_with_their_options() -> None:
    commands = [parse(line) for line in our_commands(shell_blocks(DOCKER / "README.md"))]
    assert "submit" in commands


def test_services_in_the_readme_are_those_there_are(services: dict[str, Any]) -> None:
    text = (DOCKER / "README.md").read_text(encoding="utf-8")
    named = re.findall(
        r"docker compose (?:run --rm(?: -T)?|exec|logs -f|cp) ([a-z][a-z-]*)|--scale ([a-z]+)=",
        text,
    )
    assert {first or second for first, second in named} <= set(services)
    assert len(named) >= 3


def test_no_secret_stands_in_the_files(services: dict[str, Any]) -> None:
    for name in ("compose.yaml", "compose.gpu.yaml", ".env.example", "Dockerfile"):
        text = (DOCKER / name).read_text(encoding="utf-8")
        assert not re.search(
            r"(?i)(password|secret|token|key)\w*[ \t]*[=:][ \t]*[\"']?\w{6,}", text
        )
        assert not re.search(r"://[^/\s]*:[^/\s]*@", text), name
    for service in services.values():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable or "STORAGE" in variable:
                assert variable.endswith("_FILE")
                assert value.startswith("/secrets/")


def test_secrets_are_read_only_to_all_but_who_makes_them(services: dict[str, Any]) -> None:
    for name, service in services.items():
        mounts = [each for each in service.get("volumes", []) if each.startswith("secrets:")]
        assert mounts in ([], ["secrets:/secrets" if name == "secrets" else "secrets:/secrets:ro"])
    assert not any(each.startswith("secrets:") for each in services["tensorboard"]["volumes"])


def test_files_of_secrets_are_those_that_are_made(services: dict[str, Any]) -> None:
    made = set(
        re.findall(
            r"^(\w+)  +", (DOCKER / "make_secrets.py").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    used = set(re.findall(r"/secrets/(\w+)", yaml.safe_dump(services)))
    assert used == made == {"database_password", "storage", "dashboard_password"}


def test_only_the_dashboard_may_be_reached_from_elsewhere_and_not_by_itself(
    services: dict[str, Any],
) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "dashboard": ["127.0.0.1:8080:8080"],
        "tensorboard": ["127.0.0.1:6006:6006"],
    }
    assert "--password-file" in services["dashboard"]["command"]
    opened = interpolated(DOCKER / "compose.yaml", {"DASHBOARD_ADDRESS": "0.0.0.0"})
    assert opened["services"]["dashboard"]["ports"] == ["0.0.0.0:8080:8080"]
    assert opened["services"]["tensorboard"]["ports"] == ["127.0.0.1:6006:6006"]


def test_containers_of_ours_may_do_nothing_but_their_work(services: dict[str, Any]) -> None:
    ours = {name: each for name, each in services.items() if each["image"].startswith("kidneyseg")}
    assert set(services) - set(ours) == {"database"}
    for service in ours.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["init"]
        assert "/tmp" in service["tmpfs"]
        assert not {"privileged", "user", "network_mode"} & set(service)


def test_what_serves_is_looked_after(services: dict[str, Any]) -> None:
    for name in ("worker", "dashboard", "tensorboard"):
        url = services[name]["environment"]["KIDNEYSEG_HEALTH_URL"]
        port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\w*", url)
        assert port
        assert port[1] in services[name]["command"]
    # The server that sets the database up listens on its socket alone, and is not ready.
    assert "--host=127.0.0.1" in services["database"]["healthcheck"]["test"]
    for name in ("worker", "dashboard", "kidneyseg-search"):
        waits = services[name]["depends_on"]["database"]
        assert waits == {"condition": "service_healthy"}


def test_workers_can_be_scaled_and_have_time_to_hand_back(services: dict[str, Any]) -> None:
    worker = services["worker"]
    assert not {"container_name", "ports"} & set(worker)
    assert worker["stop_grace_period"] == "2m"
    assert worker["shm_size"] == "2gb"
    assert "--device claim" in worker["command"]
    # Locks of GPUs lie in the runs folder: workers share it, whatever it is.
    assert "runs:/home/kidneyseg/runs" in worker["volumes"]


def test_data_are_read_only(services: dict[str, Any]) -> None:
    given = interpolated(DOCKER / "compose.yaml", {"KIDNEYSEG_DATA": "/srv/kits19/data"})
    for name in ("worker", "kidneyseg-search"):
        assert "no-data:/data:ro" in services[name]["volumes"]
        assert "/srv/kits19/data:/data:ro" in given["services"][name]["volumes"]


def test_every_named_volume_is_declared(compose: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == set(compose["volumes"])


def test_every_setting_of_the_example_is_one_that_counts() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    of_compose = {"COMPOSE_FILE"}
    named = set(environment_file(DOCKER / ".env.example"))
    assert named - of_compose == set(re.findall(r"\$\{(\w+)", text))
    example = environment_file(DOCKER / ".env.example")
    for file in example["COMPOSE_FILE"].split(":"):
        assert (DOCKER / file).is_file()


def test_without_an_index_the_image_has_cuda_and_each_worker_sees_every_gpu(
    services: dict[str, Any],
) -> None:
    assert services["worker"]["build"]["args"]["TORCH_INDEX"].endswith("/cpu")
    variables = environment_file(DOCKER / ".env.example")
    with_gpus = interpolated(DOCKER / "compose.yaml", variables)
    assert not with_gpus["services"]["worker"]["build"]["args"]["TORCH_INDEX"]
    more = interpolated(DOCKER / "compose.gpu.yaml", variables)["services"]
    assert set(more) == {"worker"}
    (device,) = more["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_compose_itself_takes_the_files(tmp_path: Path) -> None:
    told = config_of(tmp_path, "compose.yaml", "compose.gpu.yaml")
    assert told.returncode == 0, told.stderr
    found = yaml.safe_load(told.stdout)["services"]
    # Its own reading of the defaults and of what is merged.
    assert found["worker"]["image"] == "kidneyseg:latest"
    assert "--environment local" in str(found["worker"]["command"])
    (device,) = found["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"


def test_compose_itself_refuses_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    wrong = text.replace("stop_grace_period:", "stop_grace_time:")
    assert wrong != text
    told = config_of(tmp_path, "compose.yaml", texts={"compose.yaml": wrong})
    assert told.returncode != 0
    assert "stop_grace_time" in told.stderr


def config_of(
    folder: Path, *names: str, texts: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """`docker compose config` of some of our files, copied to a folder of their own.

    Compose 1, which Debian has, is enough where the plugin is missing: it knows all keys of ours
    but the project's name.
    """
    docker = shutil.which("docker")
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    asked = [docker or "docker", "compose", "version"]
    plugin = (
        docker is not None
        and not subprocess.run(asked, env=environment, capture_output=True, check=False).returncode
    )
    command = asked[:2] if plugin else [find_program("docker-compose")]
    for name in names:
        text = (texts or {}).get(name) or (DOCKER / name).read_text(encoding="utf-8")
        if not plugin:
            text = text.replace("\nname: kidneyseg\n", "\n")
        (folder / name).write_text(text, encoding="utf-8")
    files = [part for name in names for part in ("-f", name)]
    return subprocess.run(
        [*command, *files, "config"],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
