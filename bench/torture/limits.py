"""Room that runs out and folders that may not be written to: a disk, `/tmp`, memory, one folder.

Disks are file systems in memory, mounted in a name space of this program's own (`alone`): nobody else sees them, and they go
with it. What ends a stage here ends it with words, so these are read too: a traceback or a crash is nobody's help.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from bench.torture.round import REPRO, Missed, Round, crashes, require_a_fault, tracebacks

_DVC_WRITES = (".", ".dvc/cache", ".dvc/tmp")
_WRITE_BESIDE = {  # where stages write beside their outputs
    **dict.fromkeys(("register", "register_call"), "mlartifacts"),
    **dict.fromkeys(("train", "train_bags", "suspect", "call"), ".checkpoints"),
    "embed": ".vectors",
}
_ALONE = "TORTURE_MAY_MOUNT"
_ROOM_KB = 2_000_000


def alone() -> None:
    """Go on as a program that may mount what nobody else sees, where this account may: the root of many containers may not."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0 or _ALONE in os.environ:
        return
    if subprocess.run([unshare, "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        os.environ[_ALONE] = "1"
        os.execv(unshare, [unshare, "--mount", sys.executable, *sys.orig_argv[1:]])


def may_mount() -> bool:
    """Whether `alone` could."""
    return _ALONE in os.environ


def disk_full(this: Round, times: int = 10) -> None:
    """The disk with the project is full `times` times, one after the other, and there is room again for the next run.

    Half of them are chosen by what is left before the run, half by how far the stage is, when what is left is taken away.
    DVC writes over dvc.lock in place, after the stage: one that it cut off is brought back, as docs/operations.md has it.
    """
    lock = this.folder / "dvc.lock"
    needed_kb = _onto_a_disk(this)
    this.victim = "disk"
    for _ in range(times):
        left_kb = int(needed_kb * this.chance.random() ** 2)
        later = this.chance.random() < 0.5
        if not later:
            _leave(this.folder, left_kb)
        before = lock.read_bytes()
        dvc = this.start(*REPRO)
        if later:
            with contextlib.suppress(Missed):
                this.moment_of(this.wait_for_stage(dvc))
                _leave(this.folder, left_kb // 8)
        this.moments.append(f"{left_kb // 8 if later else left_kb} KB left")
        status = this.ended(dvc)
        _resize(this.folder, _ROOM_KB)
        if status:
            this.faults += 1
            if _is_cut_off(lock):
                lock.write_bytes(before)
                this.moments.append("dvc.lock cut off")
        else:
            this.project.undo(this.undone)
    this.unclear += [*tracebacks(this), *crashes(this)]
    require_a_fault(this)


def _is_cut_off(lock: Path) -> bool:
    """Whether DVC would refuse it."""
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe", pure=True).load(lock))
    except (YAMLError, Invalid):
        return True
    return False


def temp_full(this: Round) -> None:
    """There is hardly any room for temporary files."""
    place = this.folder.parent / "tmp"
    place.mkdir(exist_ok=True)
    size_kb = int(4 + 400 * this.chance.random() ** 2)
    _mount(this, place, "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs")
    this.victim = "/tmp"
    this.moments.append(f"{size_kb} KB")
    this.faults = int(this.ended(this.start(*REPRO, TMPDIR=str(place))) != 0)
    this.unclear += [*tracebacks(this), *crashes(this)]


def read_only(this: Round) -> None:
    """One of the folders that the stage or DVC writes to may only be read."""
    names = {str(place.parent) for place in this.project.outs(this.stage)} | {*_DVC_WRITES}
    names |= {_WRITE_BESIDE.get(this.stage.partition("@")[0], ".")}
    place = this.folder / this.chance.choice(sorted(name for name in names if (this.folder / name).is_dir()))
    _mount(this, place, "--bind", str(place))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
    this.victim = str(place.relative_to(this.folder))
    this.faults = int(this.ended(this.start(*REPRO)) != 0)
    this.unclear += [*tracebacks(this), *crashes(this)]
    subprocess.run(["umount", str(place)], check=True)


def memory_short(this: Round) -> None:
    """From some moment on a stage gets hardly more memory than it has."""
    dvc = this.start(*REPRO)
    stage = this.wait_for_stage(dvc)
    more_mb = int(64 * this.chance.random() ** 2)
    this.moment_of(stage)
    this.victim, this.faults = "memory", 1
    this.moments.append(f"{more_mb} MB more")
    with contextlib.suppress(psutil.Error):
        limit = stage.memory_info().vms + more_mb * 2**20
        stage.rlimit(resource.RLIMIT_AS, (limit, limit))
    if this.ended(dvc) == 0:
        raise Missed
    this.unclear += tracebacks(this)


def _onto_a_disk(this: Round) -> int:
    """Move the project to a disk of its own; how many KB its undone stages may need there."""
    folder, aside = this.folder, this.folder.with_name("aside")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    folder.mkdir()
    _mount(this, folder, "-t", "tmpfs", "-o", f"size={_ROOM_KB}k", "tmpfs")
    subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
    shutil.rmtree(aside)
    made = [this.project.kept / place for name in this.undone for place in this.project.outs(name)]
    return 20 + sum(path.stat().st_size for place in made for path in (place, *place.rglob("*")) if path.is_file()) // 700


def _mount(this: Round, place: Path, *how: str) -> None:
    subprocess.run(["mount", *how, str(place)], check=True)
    this.after.callback(subprocess.run, ["umount", "--lazy", str(place)], check=False, stderr=subprocess.DEVNULL)


def _leave(place: Path, left_kb: int) -> None:
    """Let a disk have so much room and no more; what is being written meanwhile may make it too small to be had."""
    while True:
        with contextlib.suppress(subprocess.CalledProcessError):
            return _resize(place, _used_kb(place) + left_kb)


def _resize(place: Path, size_kb: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_kb}k", str(place)], check=True, stderr=subprocess.DEVNULL)


def _used_kb(place: Path) -> int:
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
