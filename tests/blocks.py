"""Shell blocks of the documents: found, split into commands, and marked."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# Marks stand in an HTML comment on the line before the fence: <!-- gpu -->. Blocks with one of
# these are not run on tiny, and why.
SKIPPED = {
    "gpu": "needs a GPU",
    "hub": "fetches from the hub",
    "s3": "needs a bucket and its keys; tests/whole/sharing has a server",
    "vllm": "needs vLLM",
    "cluster": "needs other machines",
    "judge": "needs a judge's server; tests/whole/judges has one",
    "installs": "changes the environment",
    "self": "is this project's own tests",
    "example": "needs a file of the reader's",
}
MARKS = {*SKIPPED, "run"}  # run: a block of Python that is run, too
LANGUAGES = {"sh", "python", "yaml", "text", "json", "mermaid", "markdown", "bash"}
FENCE = re.compile(
    r"^(?:<!-- (?P<marks>[a-z0-9 ]+) -->\n)?"
    r"(?P<fence>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its marks, and its lines."""

    page: str
    line: int
    section: str
    language: str
    marks: frozenset[str]
    text: str

    @property
    def runs(self) -> bool:
        """Whether it is run on tiny as it is typed."""
        wanted = self.language == "sh" or (self.language == "python" and "run" in self.marks)
        return wanted and not self.marks & set(SKIPPED)


@dataclass(frozen=True)
class Command:
    """One complete command as it is typed, with the line where it begins."""

    line: int
    text: str


def of(path: Path) -> list[Block]:
    """List the fenced blocks of a document in order."""
    page = path.relative_to(ROOT).as_posix()
    return list(parse(page, path.read_text(encoding="utf-8")))


def parse(page: str, text: str) -> Iterator[Block]:
    """Find fenced blocks; a block's line is that of its first command."""
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        titles = re.findall(
            r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", before, flags=re.M | re.S), re.M
        )
        yield Block(
            page,
            text[: found.start("text")].count("\n") + 1,
            titles[-1] if titles else "",
            found["language"],
            frozenset((found["marks"] or "").split()),
            found["text"],
        )


def commands(block: Block) -> list[Command]:
    """Split a shell block where bash has a whole command, as a terminal does."""
    found: list[Command] = []
    lines: list[str] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not lines and not line.strip():
            continue
        lines.append(line)
        text = "\n".join(lines)
        if not complaint(text) and not line.endswith("\\"):
            found.append(Command(number - len(lines) + 1, text))
            lines = []
    if lines:
        raise ValueError(f"{block.page}:{block.line}: {complaint(chr(10).join(lines))}")
    return found


def complaint(text: str) -> str:
    """Give what bash says of a text that is no whole command, else nothing."""
    done = subprocess.run(
        ["bash", "-n"], input=text + "\n", text=True, capture_output=True, check=False
    )
    return done.stderr.strip()
