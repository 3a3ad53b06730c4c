"""Runs the lines of a document's blocks in a folder, as a person would one after another.

Our own programs are called in this process, through their entry points, so that torch is imported
once; servers are started, asked whether they are well, and terminated; bash does the rest.
"""

import io
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import URL

from kidneyseg.cli.main import kidneyseg, kidneyseg_search
from kidneyseg.search import storage
from kidneyseg.search.patient_storage import PatientStorage
from kidneyseg.search.storage import _open
from tests.docs.blocks import ROOT, Block

ENTRIES = {"kidneyseg": kidneyseg, "kidneyseg-search": kidneyseg_search}
SERVERS = {"kidneyseg-search dashboard": "/healthz", "tensorboard": "/"}
SERVER_SECONDS = 120
OPERATORS = re.compile(r"[|<>&;$*~`(]")

# What is written for a person's data and machines, made small enough for a test.
SUBSTITUTIONS = {
    "--n-trials 50": "--n-trials 2",
    "--n-trials 60": "--n-trials 3",
    "--n-trials 200": "--n-trials 2",
    "--n-trials 10": "--n-trials 2",
    "n_trials=10": "n_trials=2",
    "--top 5 --seeds 3": "--top 2 --seeds 2",
    "--device cuda:0": "--device cpu",
    "/data/kits19": "kits19/data",
    "max_tumor_fraction=0.1225": "max_tumor_fraction=0.9",
    " --watch": "",  # it watches until Ctrl-C
    "training.recompute=true": "training.recompute=true --set training.max_epochs=1",
}


class Shell:
    """A person at a terminal, in a folder."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, substitutions: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._substitutions = {**SUBSTITUTIONS, **substitutions}
        self._opened: list[PatientStorage] = []
        monkeypatch.setattr(storage, "_open", self._open_and_note)
        monkeypatch.chdir(folder)
        for name in ("KIDNEYSEG_STORAGE", "KIDNEYSEG_STORAGE_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(folder))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        programs = str(Path(sys.executable).parent)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def _open_and_note(self, url: URL) -> PatientStorage:
        opened = _open(url)
        self._opened.append(opened)
        return opened

    def _close_databases(self) -> None:
        """What the end of a process would do."""
        while self._opened:
            self._opened.pop().engine.dispose()

    def run(self, block: Block) -> None:
        """Run a block; a line that does not succeed fails the test and is named."""
        for line in block.commands():
            self._run_line(self.substituted(line), block)

    def run_python(self, block: Block) -> None:
        """Run a block of Python as a script."""
        script = compile(self.substituted(block.text), str(block), "exec")
        exec(script, {"__name__": "__main__"})
        self._close_databases()

    def substituted(self, text: str) -> str:
        """A line as it is run here."""
        for written, run in self._substitutions.items():
            text = re.sub(rf"{re.escape(written)}(?!\d)", lambda _, run=run: run, text)  # type: ignore[misc]
        return text

    def _run_line(self, line: str, block: Block) -> None:
        server = next((name for name in SERVERS if line.startswith(name)), None)
        if server is not None:
            self._serve(shlex.split(line), SERVERS[server], block)
        elif line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self._monkeypatch.setenv(name, str(Path(value).expanduser()) if "~" in value else value)
        elif line.partition(" ")[0] in ENTRIES and not OPERATORS.search(line):
            program, *arguments = shlex.split(line)
            self._monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # where it asks
            try:
                code = ENTRIES[program](arguments)
            finally:
                self._close_databases()
            assert code == 0, f"{block}: {line}: exit code {code}"
        else:
            ended = subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=False)
            assert ended.returncode == 0, f"{block}: {line}: exit code {ended.returncode}"

    def _serve(self, command: list[str], path: str, block: Block) -> None:
        """Start a server on a free port, wait until it answers that it is well, end it."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with subprocess.Popen([*command, "--port", str(port)]) as process:
            try:
                answer = _wait_for(f"http://127.0.0.1:{port}{path}", process)
            finally:
                process.terminate()
        assert answer == 200, f"{block}: {shlex.join(command)}: {path} answers {answer}"


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> int | None:
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.2)
    return None
