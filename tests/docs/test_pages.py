"""Each page's commands and scripts run, one after another, from a folder with a searched study."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from kidneyseg.environment_files import load_environment
from kidneyseg.search.definition import load_plan
from kidneyseg.settings import Environment, Part
from tests.docs.blocks import BLOCKS, Block, is_run
from tests.docs.conftest import MakeShell

ADDRESS = "postgresql://kidneyseg:PASSWORD@db.example.org/trials"
PAGES = sorted(
    {
        block.document
        for block in BLOCKS
        if block.document != "README.md" and (is_run(block, "sh") or is_run(block, "python"))
    }
)


@pytest.fixture
def folder(searched_folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder in which the study `lr_loss` was searched."""
    return Path(shutil.copytree(searched_folder, tmp_path / "reader"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_pages_commands_run(
    page: str, folder: Path, make_shell: MakeShell, request: pytest.FixtureRequest
) -> None:
    blocks = [block for block in BLOCKS if block.document == page]
    address = ""
    if any(ADDRESS in block.text for block in blocks):
        address = request.getfixturevalue("database")
    shell = make_shell(folder, **{ADDRESS: address})
    for block in blocks:
        if block.language == "toml":
            keep(block, folder)
        elif is_run(block, "sh"):
            shell.run(block)
        elif is_run(block, "python"):
            shell.run_python(block)


def keep(block: Block, folder: Path) -> None:
    """Write a block of TOML to the file that its first line names."""
    name = file_name(block)
    if name:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(block.text, encoding="utf-8")


def file_name(block: Block) -> str:
    """`studies/decay.toml` of a block that begins with `# studies/decay.toml`; or nothing."""
    first = block.text.splitlines()[0]
    return first.removeprefix("# ").split(";")[0] if ".toml" in first else ""


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml"], ids=str)
def test_a_block_of_toml_is_what_a_file_may_hold(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for other in BLOCKS:
        if other.language == "toml" and other.document == block.document:
            keep(other, tmp_path)
    kind, _, name = file_name(block).partition("/")
    match kind:
        case "environments":
            load_environment(name.removesuffix(".toml"), {})
        case "studies":
            load_plan(name.removesuffix(".toml"), {})
        case "search_spaces":
            assert any(f'search_space = "{name.removesuffix(".toml")}"' in b.text for b in BLOCKS)
        case _:
            check_part(block)


def check_part(block: Block) -> None:
    """A few keys of a machine's file, each in its part."""
    values = tomllib.loads(block.text)
    assert set(values) <= {"network", "common"}, (
        f"{block}: begin it with # and the name of its file"
    )
    for name, part in values.items():
        model = Environment.model_fields[name].annotation
        assert isinstance(model, type)
        assert issubclass(model, Part)
        model.model_validate(part)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_a_block_of_python_can_be_compiled(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "json"], ids=str)
def test_a_block_of_json_is_json(block: Block) -> None:
    json.loads(block.text)
