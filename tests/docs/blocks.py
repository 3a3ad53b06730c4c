"""The code blocks of the documents, and why some of them are not run.

A block is run by a test unless a comment stands directly before it:

    <!-- not run: needs Slurm -->
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "docker").glob("*.md"),
    ]
    if "api" not in path.parts
)
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE
)
TAG = re.compile(r"<!-- not run: ([^>]+?) -->\n\Z")
ANY_TAG = "<!-- not run:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A code block of a document."""

    document: str  # its path in the project
    line: int  # of its fence
    language: str
    text: str
    not_run: str  # why; empty for one that is run

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    def commands(self) -> list[str]:
        """Its lines without comments, those that end with a backslash joined to the next."""
        joined = self.text.replace("\\\n", " ")
        lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]
        return [line for line in lines if line]


def read_blocks(path: Path, root: Path = ROOT) -> list[Block]:
    """All blocks of a document, in their order."""
    page = path.read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(page):
        before = page[: fence.start()]
        tag = TAG.search(before)
        found.append(
            Block(
                document=path.relative_to(root).as_posix(),
                line=before.count("\n") + 1,
                language=fence["language"],
                text=fence["text"],
                not_run="" if tag is None else tag[1],
            )
        )
    return found


BLOCKS = [block for document in DOCUMENTS for block in read_blocks(document)]


def is_run(block: Block, language: str) -> bool:
    """Whether a block of this language is run."""
    return block.language == language and not block.not_run
