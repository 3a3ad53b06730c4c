"""The documents keep to what the program has; each block is run, or says why not."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from kidneyseg.reference.commands_page import PROGRAMS
from tests.docs.blocks import ANY_TAG, BLOCKS, DOCUMENTS, ROOT, Block, is_run
from tests.docs.shell import OPERATORS, SUBSTITUTIONS

LANGUAGES = {"sh", "python", "toml", "json", "text"}  # text: no code
LINES = [
    (block, line)
    for block in BLOCKS
    if block.language == "sh"
    for line in block.commands()
    if line.split(" ")[0] in PROGRAMS
]


@pytest.mark.parametrize(("block", "line"), LINES, ids=str)
def test_every_command_in_the_documents_exists_with_its_options(block: Block, line: str) -> None:
    program, command, *arguments = shlex.split(re.split(r" [|>]", line)[0])
    commands = typer.main.get_command(PROGRAMS[program]).commands  # type: ignore[attr-defined]
    if command.startswith("--"):
        assert command in ("--help", "--install-completion"), f"{block}: {line}"
        return
    assert command in commands, f"{block}: {line}"
    known = {option for parameter in commands[command].params for option in parameter.opts}
    given = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
    assert given <= known | {"--help"}, f"{block}: {line}"


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: expected one of {', '.join(sorted(LANGUAGES))}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.not_run], ids=str)
def test_a_block_that_is_not_run_could_be_and_has_a_reason(block: Block) -> None:
    assert block.language in ("sh", "python"), f"{block}: a {block.language} block is never run"
    assert len(block.not_run.split()) >= 2, f"{block}: no reason: {block.not_run}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=str)
def test_every_block_of_commands_is_one_that_bash_reads(block: Block) -> None:
    read = subprocess.run(
        ["bash", "-n"], input=block.text.encode(), check=False, capture_output=True
    )
    assert read.returncode == 0, f"{block}: {read.stderr.decode()}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_tag_stands_before_a_block(document: Path) -> None:
    page = document.read_text(encoding="utf-8")
    name = document.relative_to(ROOT).as_posix()
    tagged = sum(bool(block.not_run) for block in BLOCKS if block.document == name)
    quoted = page.count(f"`{ANY_TAG}")
    assert page.count(ANY_TAG) - quoted == tagged, f"{name}: a tag without a block"


@pytest.mark.parametrize("written", SUBSTITUTIONS)
def test_every_substitution_is_of_something_that_is_run(written: str) -> None:
    assert any(
        written in block.text for block in BLOCKS if is_run(block, "sh") or is_run(block, "python")
    )


def test_every_command_is_run_by_some_document() -> None:
    run = {tuple(line.split(" ")[:2]) for block, line in LINES if not block.not_run}
    for program, app in PROGRAMS.items():
        commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        assert {(program, command) for command in commands} <= run


def test_a_line_for_bash_is_told_from_one_for_our_programs() -> None:
    assert OPERATORS.search("kidneyseg verify data > findings.json")
    assert not OPERATORS.search("kidneyseg verify data --json")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_architecture_stays_below_a_hundred_lines() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) < 100


def architecture_paths() -> list[str]:
    """What ARCHITECTURE.md names that is a file or a folder."""
    named = re.findall(r"`([\w./*-]+)`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    return sorted({name for name in named if re.search(r"/|\.(py|md|toml)$", name)})


@pytest.mark.parametrize("name", architecture_paths())
def test_what_architecture_names_exists(name: str) -> None:
    """Below the package or the root; a name without a folder stands beside one with it."""
    below = [*ROOT.glob(f"kidneyseg/{name}"), *ROOT.glob(name)]
    beside = [] if "/" in name else list(ROOT.glob(f"kidneyseg/**/{name}"))
    assert [path for path in (*below, *beside) if path.is_dir() or not name.endswith("/")]


def test_architecture_names_files_and_folders() -> None:
    assert {"cli/search/", "ct/splits.py", "pyproject.toml"} <= set(architecture_paths())
