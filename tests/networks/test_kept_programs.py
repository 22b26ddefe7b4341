"""What XLA compiles is kept where TRAIN_PROGRAMS says, found again by another process, and told of where it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, write_params

from pipeline import __main__ as command_line
from pipeline.common.errors import ConfigError
from pipeline.machine import device
from pipeline.networks import training_loop

pytestmark = pytest.mark.skipif(training_loop.keras.config.backend() != "tensorflow", reason="the programs are TensorFlow's")


@pytest.mark.rehearsal
@pytest.mark.parametrize(("room_bytes", "expected"), [(2**30, 2), (0, 3)])
def test_what_xla_compiled_is_kept_and_a_resumed_training_goes_on_with_it(
    tmp_path: Path, room_bytes: int, expected: int
) -> None:
    """In processes of their own: TensorFlow reads once where to keep it. Sent cells are of calls of four steps and of two."""
    code = (
        "import sys; from pathlib import Path; from networks import test_epoch_on_device as own\n"
        "own.device.room_bytes = lambda: int(sys.argv[3])\n"
        "own.epoch_on_device._SENT_BYTES = 4 * 8 * 12 * 12 * 3\n"
        "try: network, _ = own.train(Path(sys.argv[1]), own.machine(xla=True), stop_after=int(sys.argv[2]))\n"
        "except KeyboardInterrupt: sys.exit()\n"
        "own.training_loop.save_weights(network, own.SPEC, Path(sys.argv[1] + '.weights.h5'))"
    )
    programs, cut, whole = (tmp_path / name for name in ('programs "that" a\\re kept', "cut.npz", "whole.npz"))

    def run(stop_after: int, checkpoint: Path) -> dict[str, int]:
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRAIN_PROGRAMS": str(programs)}
        command = [sys.executable, "-c", code, str(checkpoint), str(stop_after), str(room_bytes)]
        subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return {str(file): file.stat().st_ino for file in programs.rglob("*.pb")}

    compiled = run(0, cut)
    assert len(compiled) == expected
    assert run(9, cut) == compiled  # what is compiled again is another file
    assert run(9, whole) == compiled
    assert Path(f"{cut}.weights.h5").read_bytes() == Path(f"{whole}.weights.h5").read_bytes()


@pytest.mark.rehearsal
def test_a_damaged_program_ends_in_one_line_that_names_the_folder(tmp_path: Path) -> None:
    code = (
        "from pipeline.__main__ import main; from pipeline.machine import device; from pipeline.stages import report\n"
        "import tensorflow as tf\n"
        "def run(settings):\n"
        "    device.prepare('float32')\n"
        "    tf.function(lambda x: x + 1, jit_compile=True, autograph=False)(1.0)\n"
        "report.run = run\n"
        "raise SystemExit(main(['report']))"
    )
    write_params(tmp_path / "params.yaml", {})
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TRAIN_PROGRAMS": str(tmp_path / "programs")}

    def run() -> tuple[int, str]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert run() == (0, "")
    [program] = (tmp_path / "programs").rglob("*.pb")
    os.truncate(program, 100)
    status, said = run()
    assert status == 2
    assert said.startswith("error: report: TensorFlow: ")
    assert said.count("\n") == 1
    assert "empty that folder" in said
    shutil.rmtree(tmp_path / "programs")
    assert run() == (0, "")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("file/programs", r"cannot be written .*; name another folder"), ("", "must be the whole path of a folder, not 'kept'")],
)
def test_programs_that_cannot_be_kept_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, expected: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRAIN_PROGRAMS", str(tmp_path / folder) if folder else "kept")
    with pytest.raises(ConfigError, match=rf"TRAIN_PROGRAMS: .*{expected}"):
        device.prepare("float32")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_an_error_of_a_file_is_told_as_one() -> None:
    from tensorflow import errors

    is_of_a_file = command_line._is_of_a_file_of_tensorflows
    assert is_of_a_file(errors.DataLossError(None, None, "truncated record"))
    assert is_of_a_file(errors.InvalidArgumentError(None, None, "Serialized HLO does not match."))
    assert not is_of_a_file(errors.InvalidArgumentError(None, None, "Incompatible shapes: [2] vs. [3]"))
    assert not is_of_a_file(ValueError("Serialized HLO does not match."))
