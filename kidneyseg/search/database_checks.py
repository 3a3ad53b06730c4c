"""What in the database would go wrong: where it lies, its clock, its room, versions, the dead."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Float, cast, extract, func, select, text

from kidneyseg.provenance import library_versions
from kidneyseg.runs import Runs
from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.file_systems import MOUNTS, network_file_system
from kidneyseg.search.findings import Finding, error, ok, warning
from kidneyseg.search.status import read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import DEFINITION, study_names
from kidneyseg.search.tables import studies, study_user_attributes, trial_user_attributes, trials

CLOCK_SECONDS = 10.0  # two clocks may differ by so much
COMPARED = ("kidneyseg", "optuna")  # versions that have to be one and the same within a study
CONNECTIONS_EACH = 2  # of a process of workers


def check_place(path: Path, mounts: Path = MOUNTS) -> list[Finding]:
    """See that a SQLite file lies on a disk of this machine."""
    kind = network_file_system(path, mounts)
    if kind is None:
        return [ok("database", f"{path} lies on a disk of this machine")]
    return [
        error(
            "database",
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold",
            "name a file on a local disk with --storage, or use PostgreSQL",
        )
    ]


def check_clock(storage: Storage) -> list[Finding]:
    """See that this machine's clock is the database's, to a few seconds."""
    if storage.is_sqlite:
        return [ok("clock", "the database's is this machine's")]
    before = time.time()
    now = select(cast(extract("epoch", func.clock_timestamp()), Float(53)))
    theirs = float(storage.read(now).scalar_one())
    ahead = (before + time.time()) / 2 - theirs
    if abs(ahead) <= CLOCK_SECONDS:
        return [ok("clock", "this machine's and the database's agree")]
    direction = "ahead of" if ahead > 0 else "behind"
    found = f"this machine's is {abs(ahead):.0f} s {direction} the database's"
    return [warning("clock", found, "set both by NTP: hours and time left are told wrongly")]


def check_connections(storage: Storage) -> list[Finding]:
    """See that PostgreSQL has room for the connections of the workers there are."""
    if storage.engine.dialect.name != "postgresql":
        return []
    row = storage.read(
        text(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int AS room,"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used"
        )
    ).one()
    alive = [each for name in study_names(storage) for each in read_status(storage, name).alive]
    processes = {each.worker.partition("/")[0] for each in alive}  # host, number; then the place
    wanted = max(int(row.used), CONNECTIONS_EACH * len(processes))
    found = (
        f"{row.used} of {row.room} in use, {len(alive)} workers alive, processes: {len(processes)}"
    )
    if wanted > 0.8 * row.room:
        cure = "raise max_connections of the server, or put PgBouncer before it"
        return [warning("connections", found, cure)]
    return [ok("connections", found)]


def check_versions(storage: Storage, mine: Mapping[str, str] | None = None) -> list[Finding]:
    """See that the trials of each study were made by the versions that are installed here."""
    installed = library_versions() if mine is None else mine
    findings = []
    for study, made_by in _versions(storage).items():
        for library in COMPARED:
            counts = made_by[library]
            if set(counts) - {installed[library]}:
                each = ", ".join(f"{version} ({n})" for version, n in sorted(counts.items()))
                found = f"study {study}: trials by {library} {each}; here is {installed[library]}"
                cure = "install one version everywhere, or begin another study"
                findings.append(warning("versions", found, cure))
    return findings or [ok("versions", "all trials were made by those installed here")]


def _versions(storage: Storage) -> dict[str, dict[str, Counter[str]]]:
    """By study and library: how many trials which version made."""
    attributes = trial_user_attributes
    query = (
        select(studies.c.study_name, attributes.c.value_json)
        .join(trials, trials.c.study_id == studies.c.study_id)
        .join(attributes, attributes.c.trial_id == trials.c.trial_id)
        .where(attributes.c.key == "provenance")
    )
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in storage.read(query):
        versions = json.loads(row.value_json).get("versions", {})
        for library in COMPARED:
            found[row.study_name][library][versions.get(library, "unknown")] += 1
    return found


def check_workers(storage: Storage) -> list[Finding]:
    """See that every running trial has a living worker."""
    findings = []
    for name in study_names(storage):
        status = read_status(storage, name)
        held = {trial.trial for trial in status.held}
        for trial in status.running:
            if trial.trial not in held:
                worker = trial.worker or "unknown"
                found = f"study {name}: trial {trial.trial} runs on, its worker ({worker}) is gone"
                cure = f"start any: kidneyseg-search worker --study {name} goes on with it"
                findings.append(warning("workers", found, cure))
    return findings or [ok("workers", "no running trial is without one")]


def check_splits(storage: Storage, runs: Runs) -> list[Finding]:
    """See that the split of each study is known in the runs folder of this machine."""
    findings = []
    known = []
    for name, definition in _definitions(storage):
        path = runs.evaluation_data(definition.split)
        if path.is_file():
            known.append(name)
        else:
            found = f"study {name}: its split ({definition.split[:16]}) is not in {runs.folder}"
            cure = "none where this machine joins it first; else name the data it was begun with"
            findings.append(warning("split", found, cure))
    if known:
        findings.insert(0, ok("split", f"known here: {', '.join(known)}"))
    return findings


def _definitions(storage: Storage) -> Iterator[tuple[str, StudyDefinition]]:
    """The definitions of all studies of ours."""
    attributes = study_user_attributes
    query = (
        select(studies.c.study_name, attributes.c.value_json)
        .join(attributes, attributes.c.study_id == studies.c.study_id)
        .where(attributes.c.key == DEFINITION)
        .order_by(studies.c.study_name)
    )
    for row in storage.read(query):
        try:
            definition = StudyDefinition.model_validate_json(json.loads(row.value_json))
        except (ValidationError, TypeError):
            continue  # of another version; whoever loads it is told so
        yield row.study_name, definition
