"""README and docs as tests read them: fenced blocks, the commands in them and what they print, and code within prose.

In a block a command begins with `$ `, and what it prints follows; a block whose lines all begin with a program is commands
alone. `...` stands for lines that are left out.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = (
    *(
        "bash",
        "cp",
        "curl",
        "docker",
        "dvc",
        "echo",
        "export",
        "for",
        "git",
        "kubectl",
        "make",
        "mkdir",
        "mlflow",
        "nvidia-cuda-mps-control",
    ),
    *("prefect", "python", "rm", "sed", "source", "ssh", "uv", ".venv/bin/uv"),
)
OPERATORS = {"&&", "||", ";", "|", "(", ")", "do", "done"}


@dataclass(frozen=True)
class Step:
    """A command of a page, as typed, and the lines that it prints there."""

    page: str
    line: int  # of the page, from 1
    command: str
    printed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.command.splitlines()[0]}"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and its commands in order."""

    page: str
    line: int
    language: str
    text: str

    @property
    def steps(self) -> list[Step]:
        """The commands; none where the block is a file, a picture or what something prints."""
        lines = self.text.splitlines()
        if self.language not in ("", "python") or not lines:
            return []
        if self.language == "python":
            return [Step(self.page, self.line, self.text, ())]
        if not any(line.startswith("$ ") for line in lines):
            return self._typed(lines) if _program(lines[0]) else []
        found: list[tuple[int, list[str], list[str]]] = []
        goes_on = False
        for number, line in enumerate(lines, self.line + 1):
            if line.startswith("$ "):
                found.append((number, [line[2:]], []))
            elif goes_on:
                found[-1][1].append(line)
            elif found:
                found[-1][2].append(line)
            goes_on = line.endswith("\\") and (line.startswith("$ ") or goes_on)
        return [Step(self.page, number, "\n".join(typed), tuple(printed)) for number, typed, printed in found]

    def _typed(self, lines: list[str]) -> list[Step]:
        """Lines that a shell takes one after the other, those of a loop or with `\\` at their end together."""
        steps, waiting = [], ""
        for number, line in enumerate(lines, self.line + 1):
            if not waiting and line.lstrip().startswith("#"):  # what is said of the command above goes on
                continue
            waiting += line + "\n"
            if not line.endswith("\\") and (not waiting.startswith("for ") or line == "done"):
                steps.append(Step(self.page, number - waiting.count("\n") + 1, waiting.rstrip("\n"), ()))
                waiting = ""
        return steps


def _program(line: str) -> bool:
    words = [word for word in line.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    return bool(words) and words[0] in PROGRAMS


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    name, found = page.relative_to(ROOT).as_posix(), []
    opened: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            if opened is None:
                opened = (number, line[3:].strip(), [])
            else:
                found.append(Block(name, opened[0], opened[1], "\n".join(opened[2])))
                opened = None
        elif opened is not None:
            opened[2].append(line)
    return found


def within_prose(page: Path) -> list[str]:
    """What stands between single backticks outside the blocks."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def simple_commands(typed: str) -> list[list[str]]:
    """The words of each command in a line of a shell, without comments, redirections and variables set before it."""
    lexer = shlex.shlex(typed.replace("\\\n", " "), posix=True, punctuation_chars="();|&")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word in OPERATORS:
            commands.append([])
        elif commands[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
            commands[-1].append(word)
    return [command for command in commands if command]
