"""Many cases of one kind of bad input, each held against the rules that no input may break.

They run in a process of their own, which a case may kill: within 60 s and 2 GB beyond what was loaded, and with a look at what
is written, which may lie nowhere but in the case's folder. What comes back is what became of each.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.common.errors import WANT_OF_MEMORY, PipelineError

CLEAR, RIGHT, CRASH, WRONG = OUTCOMES = ("clear error", "accepted and right", "crash", "wrong")
LIMIT_S, LIMIT_BYTES = 60, 2 << 30
PLANTED = "written"  # what code in an input makes, where it is run


@dataclass(frozen=True)
class Kind:
    """A kind of input: `make` writes a case into the folder and says how it is damaged, `read` is the product's reading of it,
    `wrong` says what is wrong with what was accepted, by another reading ("" where nothing is).
    """

    name: str
    make: Callable[[random.Random, Path], str]
    read: Callable[[Path], Any]
    wrong: Callable[[Path, Any], str]
    named: tuple[str, ...]  # an error names one of these: the file, or the key
    refusals: tuple[type[Exception], ...] = (PipelineError,)
    load: Callable[[], object] = lambda: None  # what is imported and built once, before memory is measured
    around: Callable[[], AbstractContextManager[object]] = nullcontext  # what runs beside all cases
    one_in: int = 1  # of so many cases one is tried, where it takes seconds
    first: tuple[str, ...] = ()  # what a first stage has made, where a second one refuses


@dataclass(frozen=True)
class Case:
    """What became of one."""

    number: int
    how: str
    outcome: str
    said: str
    seconds: float


class RefusedError(Exception):
    """What another process refused, in its own words."""


class _TooLong(BaseException):
    """No handler of the product's takes it for something else."""


def run(kind: Kind, numbers: range, seed: int) -> Iterator[Case]:
    """The cases of these numbers, in order; one that ends its process is a crash."""
    with kind.around():
        yield from _run(kind, numbers, seed)


def _run(kind: Kind, numbers: range, seed: int) -> Iterator[Case]:
    context = multiprocessing.get_context("fork")
    at = numbers.start
    while at < numbers.stop:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(kind, range(at, numbers.stop), seed, there))
        process.start()
        there.close()
        try:
            while at < numbers.stop:
                if not here.poll(LIMIT_S * 4):
                    raise EOFError
                yield here.recv()
                at += 1
        except EOFError:
            process.kill()
            process.join()
            yield Case(at, "?", CRASH, f"the process ended ({process.exitcode})", 0.0)
            at += 1
        process.join(1)
        process.kill()


def _work(kind: Kind, numbers: range, seed: int, told: Connection) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if "BAD_INPUT_SHOW" not in os.environ:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    kind.load()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _stop)
    written: list[str] = []
    watched = {"on": False}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watched["on"] and (place := _written(event, arguments)):
            written.append(place)

    sys.addaudithook(watch)
    with tempfile.TemporaryDirectory() as name:
        for number in numbers:
            folder = Path(name, "outside", "case")
            folder.mkdir(parents=True)
            os.chdir(folder)
            rng = random.Random(f"{seed} {kind.name} {number}")
            try:
                how = kind.make(rng, folder)
            except Exception:  # told as a crash of the bench: no case is lost in silence
                told.send(Case(number, "?", CRASH, f"was not made: {_raised()}", 0.0))
                shutil.rmtree(Path(name, "outside"))
                continue
            before = set(Path(name).rglob("*"))
            written.clear()
            started = time.monotonic()
            signal.alarm(LIMIT_S)
            watched["on"] = True
            try:
                outcome, said = _outcome(kind, folder)
            except _TooLong:
                outcome, said = CRASH, f"took more than {LIMIT_S} s"
            finally:
                watched["on"] = False
                signal.alarm(0)
            seconds = time.monotonic() - started
            if outcome in (CLEAR, RIGHT):
                outside = [place for place in written if not _is_within(place, folder)]
                after = [place for place in set(Path(name).rglob("*")) - before if _is_left(place, folder, outcome, kind)]
                if outside or after:
                    outcome, said = CRASH, f"wrote {[*outside, *map(str, after)][:3]}: {said}"
            os.chdir(name)
            shutil.rmtree(Path(name, "outside"), ignore_errors=True)
            told.send(Case(number, how, outcome, said[:600], seconds))


def _outcome(kind: Kind, folder: Path) -> tuple[str, str]:
    try:
        value = kind.read(folder)
    except kind.refusals as error:
        said = str(error)
        if "\n" in said or not said.strip():
            return CRASH, f"not one line: {said!r}"
        if WANT_OF_MEMORY in said:
            return CRASH, f"took more than {LIMIT_BYTES >> 30} GB: {said}"
        if not any(name in said for name in kind.named):
            return CRASH, f"names nothing: {said}"
        return CLEAR, said
    except Exception:  # whatever is no PipelineError is what is looked for
        return CRASH, _raised("/pipeline/")
    try:
        wrong = kind.wrong(folder, value)
    except Exception as error:
        wrong = f"the other reader refuses it: {error!r}"
    return (WRONG, wrong) if wrong else (RIGHT, "")


def _raised(place: str = "/bench/") -> str:
    """The error that is being handled, and the last line of this project's that it came from."""
    lines = traceback.format_exc().strip().splitlines()
    own = [line.strip() for line in lines if place in line]
    return f"{lines[-1][:300]} | {own[-1] if own else ''}"


def _written(event: str, arguments: tuple[Any, ...]) -> str:
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):  # whether by `open` or by `os.open`
        return os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
    if event in ("os.mkdir", "os.symlink", "os.link", "os.rename"):
        return os.fsdecode(arguments[0 if event == "os.mkdir" else 1])
    return ""


def _is_left(place: Path, folder: Path, outcome: str, kind: Kind) -> bool:
    """Whether what is new is outside, half-written, of code in the input, or a file but a lock of a case that was refused."""
    if not place.is_relative_to(folder) or place.name == PLANTED:
        return True
    refused = outcome == CLEAR and not place.is_dir() and place.suffix != ".lock"
    return (refused and str(place.relative_to(folder)) not in kind.first) or place.name.endswith((".unfinished", "-unfinished"))


def _is_within(place: str, folder: Path) -> bool:
    absolute = os.path.abspath(place)  # noqa: PTH100 - links are not followed: what is written is the link
    return absolute in ("/tmp", "/proc") or absolute.startswith(  # in /proc nothing can be made
        (
            str(folder),
            os.devnull,
            "/dev/shm",
            "/tmp/tmp",
            "/tmp/matplotlib",
            "/tmp/mlflow-",  # locks of servers on this machine
            "/proc/",
            str(Path.home() / ".cache"),
            str(Path.home() / ".config"),
        )
    )


def _stop(number: int, frame: object) -> None:
    raise _TooLong
