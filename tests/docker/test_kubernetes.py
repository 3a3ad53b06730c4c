"""The manifests: read by Kubernetes' own types, not root, and running commands that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.docker.commands import DOCKER, parse

FOLDER = DOCKER / "kubernetes"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
WITH_PODS = ("Deployment", "Job")


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


ALL = [(path.name, document) for path in FILES for document in documents(path)]
PODS = [(name, each["spec"]["template"]) for name, each in ALL if each["kind"] in WITH_PODS]
CONTAINERS = [
    (name, pod["spec"], container) for name, pod in PODS for container in pod["spec"]["containers"]
]
in_pods = pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
in_containers = pytest.mark.parametrize(
    ("name", "pod", "container"), CONTAINERS, ids=[name for name, _, _ in CONTAINERS]
)


def lost(given: Any, read: Any, path: str = "") -> list[str]:
    """What is given and was not read, by its path: unknown to Kubernetes, or changed by it."""
    if isinstance(given, dict):
        inner = read if isinstance(read, dict) else {}
        return [
            each
            for key, value in given.items()
            for each in (
                lost(value, inner[key], f"{path}.{key}") if key in inner else [f"{path}.{key}"]
            )
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        pairs = enumerate(zip(given, read, strict=True))
        return [each for n, (one, other) in pairs for each in lost(one, other, f"{path}[{n}]")]
    return [] if str(given) == str(read) else [path]


def read_by_kubernetes(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A document as kubectl understands it, without a cluster; what it does not know is dropped."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here, whose types check the manifests")
    path = folder / "manifest.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    # Changes of what no manifest of ours gives.
    of_service = document["kind"] == "Service"
    what, value = ("selector", "added=by-a-test") if of_service else ("serviceaccount", "a-test")
    done = subprocess.run(
        [kubectl, "set", what, "--local", "-f", path, value, "-o", "json"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


TYPED = [(name, each) for name, each in ALL if each["kind"] in (*WITH_PODS, "Service")]


@pytest.mark.parametrize(
    ("name", "document"), TYPED, ids=[f"{name} {each['kind']}" for name, each in TYPED]
)
def test_kubernetes_knows_every_field_and_its_type(
    name: str, document: dict[str, Any], tmp_path: Path
) -> None:
    read = read_by_kubernetes(document, tmp_path)
    given = {**document}
    if given["kind"] == "Service":  # whose selector the question replaced
        given["spec"] = {key: each for key, each in given["spec"].items() if key != "selector"}
    assert lost(given, read) == [], name


def test_a_misspelt_field_would_be_found(tmp_path: Path) -> None:
    (workers,) = documents(FOLDER / "workers.yaml")
    workers["spec"]["template"]["spec"]["terminationGracePeriod"] = 120
    read = read_by_kubernetes(workers, tmp_path)
    assert lost(workers, read) == [".spec.template.spec.terminationGracePeriod"]


def test_claims_ask_for_what_is_shared() -> None:
    claims = documents(FOLDER / "storage.yaml")
    found = {each["metadata"]["name"]: each["spec"]["accessModes"] for each in claims}
    assert found == {"runs": ["ReadWriteMany"], "data": ["ReadOnlyMany"]}
    for claim in claims:
        assert set(claim) == {"apiVersion", "kind", "metadata", "spec"}
        assert set(claim["spec"]) == {"accessModes", "resources"}
        assert re.fullmatch(r"\d+Gi", claim["spec"]["resources"]["requests"]["storage"])


def test_kustomize_puts_them_together_with_the_registrys_image() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    done = subprocess.run(
        [kubectl, "kustomize", FOLDER], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    kinds = sorted(each["kind"] for each in built)
    claims = ["PersistentVolumeClaim"] * 2
    assert kinds == ["Deployment", "Deployment", "Namespace", *claims, "Service"]
    images = set(re.findall(r"image: (\S+)", done.stdout))
    assert images == {"registry.example.org/kidneyseg:cuda"}


@in_containers
def test_its_command_exists_with_its_options(
    name: str, pod: dict[str, Any], container: dict[str, Any]
) -> None:
    command = parse([*container["command"], *container["args"]])
    assert command in name or command == "worker", pod


@in_pods
def test_no_pod_is_root_or_knows_the_cluster(name: str, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    context = spec["securityContext"]
    assert context["runAsNonRoot"], name
    assert context["runAsUser"] == context["fsGroup"] == 1000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_namespace_admits_no_other_pods() -> None:
    (namespace,) = documents(FOLDER / "namespace.yaml")
    labels = namespace["metadata"]["labels"]
    assert labels == {"pod-security.kubernetes.io/enforce": "restricted"}
    assert {each["metadata"].get("namespace", "kidneyseg") for _, each in ALL} == {"kidneyseg"}


@in_containers
def test_the_address_comes_from_a_secret_and_stands_nowhere(
    name: str, pod: dict[str, Any], container: dict[str, Any]
) -> None:
    (storage,) = [each for each in container["env"] if each["name"].startswith("KIDNEYSEG_STORAGE")]
    assert storage == {"name": "KIDNEYSEG_STORAGE_FILE", "value": "/secrets/storage"}
    (volume,) = [each for each in pod["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == "kidneyseg"
    assert volume["secret"]["defaultMode"] == 0o440
    assert "://" not in re.sub(r"#.*", "", (FOLDER / name).read_text(encoding="utf-8"))
    assert not [each for _, each in ALL if each["kind"] == "Secret"]


@in_containers
def test_every_mount_is_of_a_volume_there_is(
    name: str, pod: dict[str, Any], container: dict[str, Any]
) -> None:
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == volumes, name
    assert {"runs", "tmp"} <= volumes
    for read_only in {"data", "secrets"} & volumes:
        assert mounts[read_only]["readOnly"]
    claims = {each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"][:1]}
    assert claims == {"runs"}


@pytest.mark.parametrize("name", ["workers.yaml", "search.yaml"])
def test_a_worker_has_a_gpu_shared_memory_and_time_to_hand_back(name: str) -> None:
    (document,) = documents(FOLDER / name)
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["terminationGracePeriodSeconds"] >= 120
    (shared,) = [each for each in container["volumeMounts"] if each["mountPath"] == "/dev/shm"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == shared["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"


def test_a_new_worker_waits_for_the_gpu_of_an_old_one() -> None:
    (workers,) = documents(FOLDER / "workers.yaml")
    assert workers["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0


def test_probes_ask_what_is_served() -> None:
    (workers,) = documents(FOLDER / "workers.yaml")
    dashboard, service = documents(FOLDER / "dashboard.yaml")
    (container,) = dashboard["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    # An outage of the database, which /healthz tells, must not have it restarted.
    assert container["livenessProbe"]["tcpSocket"] == {"port": "http"}
    (port,) = container["ports"]
    assert f"--port={port['containerPort']}" in container["args"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    labels = dashboard["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == dashboard["spec"]["selector"]["matchLabels"] == labels
    (worker,) = workers["spec"]["template"]["spec"]["containers"]
    assert worker["readinessProbe"]["httpGet"] == {"path": "/metrics", "port": "metrics"}
    assert f"--metrics-port={worker['ports'][0]['containerPort']}" in worker["args"]
    assert "livenessProbe" not in worker  # its lease says whether it lives


def test_a_search_gives_up_on_what_a_person_has_to_mend_and_on_nothing_else() -> None:
    from kidneyseg.errors import ExitCode

    (search,) = documents(FOLDER / "search.yaml")
    spec = search["spec"]
    assert spec["completions"] == spec["parallelism"] > 1
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # which the rules ask for
    (container,) = spec["template"]["spec"]["containers"]
    rules = spec["podFailurePolicy"]["rules"]
    codes = [
        (rule["action"], *rule["onExitCodes"]["values"]) for rule in rules if "onExitCodes" in rule
    ]
    assert codes == [("FailJob", ExitCode.CORRECTABLE), ("Ignore", ExitCode.TERMINATED)]
    named = {r["onExitCodes"]["containerName"] for r in rules if "onExitCodes" in r}
    assert named == {container["name"]}
