"""What was on a machine before, row by row as in docs/operations.md; conditions share a process where none hides another."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import registered
from conftest import ROOT, write_params
from processes import CLEAN
from small_project import TINY

from pipeline.__main__ import main
from pipeline.common import files
from pipeline.common.errors import is_for_want_of_memory

NAME = "a b's #1 ü"  # of the project's folder
KERAS_JSON = {"floatx": "float64", "epsilon": 0.001, "backend": "torch", "image_data_format": "channels_first"}
MATPLOTLIBRC = "lines.linewidth: 9\nsavefig.dpi: 31\ntext.usetex: True\naxes.formatter.use_locale: True\n"
VARIABLES = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "AVX2",
    "KERAS_MAX_EPOCHS": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "LC_ALL": "C",  # as it was before Python took UTF-8 for it
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "TERM": "dumb",
}
# Root may write everywhere; another account can then read what only root can, the interpreter for one, and no more.
OTHER = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
OTHER += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
AS_ROOT = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root, to become another account")


def call(folder: Path, *arguments: str, before: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "pipeline", *arguments]
    environment = {**CLEAN, "PYTHONPATH": str(ROOT), "TRAIN_THREADS": "1", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command ended with."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def personal(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of somebody whose tools are set to other tastes."""
    home = tmp_path_factory.mktemp("home")
    for name, text in {".keras/keras.json": json.dumps(KERAS_JSON), ".config/matplotlib/matplotlibrc": MATPLOTLIBRC}.items():
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text)
    return {**VARIABLES, "HOME": str(home), "KERAS_HOME": str(home / ".keras")}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose cells are packed and that has trained nothing."""
    folder = tmp_path_factory.mktemp("machine") / NAME
    folder.mkdir()
    write_params(folder / "params.yaml", {**TINY, "folds": [0], "train.max_epochs": 2, "train.min_epochs": 1})
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        for stage in ("delivery", "ingest", "validate", "deal", "split", "pack", "candidates", "weigh"):
            assert main([stage]) == 0
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registered")
    registered.build(folder)
    patient = folder / "new" / "Müller, 'A' #1?"
    patient.mkdir(parents=True)
    for number, data in enumerate(registered.cells("NPM1", 3, seed=7)):
        (patient / f"image_{number}.tif").write_bytes(data)
    return folder


@pytest.mark.rehearsal
def test_nobodys_settings_change_a_result(packed: Path, personal: dict[str, str]) -> None:
    """Validation, weights, curves, figures and pictures are the same bytes."""
    (other := packed.with_name("other")).mkdir()
    shutil.copytree(packed, other, dirs_exist_ok=True)
    (other / "matplotlibrc").write_text(MATPLOTLIBRC)
    trained = (["train", "PML_RARA", "0"], ["evaluate", "PML_RARA"])
    for folder, variables, stages in ((packed, {}, trained), (other, personal, (["validate"], *trained))):
        for stage in stages:
            done = call(folder, *stage, **variables)
            assert done.returncode == 0, done.stdout + done.stderr
    for made in ("models", "reports", "data"):
        assert files.sha256_below(other / made) == files.sha256_below(packed / made)
    keras_json = Path(personal["KERAS_HOME"]) / "keras.json"
    assert json.loads(keras_json.read_text()) == KERAS_JSON


@pytest.mark.rehearsal
def test_nobodys_settings_change_a_prediction(project: Path, personal: dict[str, str]) -> None:
    for output, variables in (("usual", {}), ("personal", personal)):
        done = call(project, "predict", "new", "--output", output, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    assert files.sha256_below(project / "personal") == files.sha256_below(project / "usual")
    assert pd.read_csv(project / "usual" / "predictions.csv")["patient"].iloc[0] == "Müller, 'A' #1?"


SERVED = """
import json, sys
if sys.argv[2] == "already":
    import keras
    assert keras.config.floatx() == "float64" and keras.config.image_data_format() == "channels_first"
import mlflow, pandas as pd
from pathlib import Path
model = mlflow.pyfunc.load_model(sys.argv[1])
images = [file.read_bytes() for file in sorted(Path("new").rglob("*.tif"))]
print(json.dumps(model.predict(pd.DataFrame({"image": pd.Series(images, dtype=object)}))["logit"].tolist()))
"""


def served(project: Path, when: str, **variables: str) -> Any:
    (place,) = [path.parent for path in (project / "mlartifacts" / "NPM1").rglob("MLmodel")]
    command = [sys.executable, "-c", SERVED, str(place), when]
    done = subprocess.run(command, cwd=project, env={**CLEAN, **variables}, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.mark.rehearsal
def test_nobodys_settings_change_what_a_served_model_says(project: Path, personal: dict[str, str]) -> None:
    """Also where somebody else's code has brought Keras up with them before; this package is not there."""
    theirs = {name: personal[name] for name in ("HOME", "KERAS_HOME")}
    usual = served(project, "")
    assert len(usual) == 3, usual
    assert served(project, "already", **theirs, KERAS_BACKEND="tensorflow") == usual
    assert served(project, "", **theirs) == usual  # its backend, torch, is not installed


@pytest.mark.rehearsal
@pytest.mark.parametrize("stage", [["train", "PML_RARA", "0"], ["predict", "new"]])
def test_a_backend_that_is_not_known_is_named(packed: Path, project: Path, stage: list[str]) -> None:
    folder = project if stage[0] == "predict" else packed
    assert "KERAS_BACKEND: must be tensorflow or jax, not 'torch'; unset it" in refused(
        call(folder, *stage, KERAS_BACKEND="torch")
    )


@pytest.mark.rehearsal
@pytest.mark.parametrize("ending", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "| true"])
def test_nobody_has_to_listen(packed: Path, ending: str) -> None:
    (packed / "data/splits/NPM1.csv").unlink(missing_ok=True)
    command = f'"$1" -m pipeline split {ending}; exit ${{PIPESTATUS[0]}}'
    environment = {**CLEAN, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command, "-", sys.executable], cwd=packed, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (packed / "data/splits/NPM1.csv").exists()


@pytest.mark.rehearsal
def test_without_a_home_with_few_open_files_and_for_own_eyes_only(packed: Path) -> None:
    (packed / "data/splits/NPM1.csv").unlink(missing_ok=True)
    before = ("bash", "-c", 'ulimit -n 32; umask 0077; unset HOME; exec "$@"', "-")
    done = call(packed, "split", before=before)
    assert done.returncode == 0, done.stderr
    assert (packed / "data/splits/NPM1.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.rehearsal
def test_a_limit_on_the_size_of_files_is_one_line(packed: Path) -> None:
    said = refused(call(packed, "split", before=("bash", "-c", 'ulimit -f 0; exec "$@"', "-")))
    assert said.startswith(f"error: {packed}: File too large; allow larger files (ulimit -f unlimited)"), said


@pytest.mark.parametrize("in_one_step", [files.in_one_step, files.folder_in_one_step])
def test_a_full_disk_is_said_of_what_was_being_written(tmp_path: Path, in_one_step: Any) -> None:
    """The system's own error, when a file that is open is written to, names none."""
    with pytest.raises(OSError, match="No space left") as refused, in_one_step(tmp_path / "made"):
        Path("/dev/full").write_text("x")
    assert refused.value.filename == str(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_that_a_library_tells_of_in_its_own_words_is_one(tmp_path: Path) -> None:
    """As HDF5 does of what it keeps back until a file is closed: without the system's number."""
    with pytest.raises(OSError, match="No space left") as refused, files.in_one_step(tmp_path / "made"):
        raise RuntimeError("Can't decrement id ref count (file write failed: file descriptor = 8, errno = 28, error message = ")
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(tmp_path / "made"))


def test_a_full_disk_behind_a_librarys_own_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow, where it cannot copy a file, raises an error of its own from that of the system."""

    def run(settings: object) -> None:
        error = RuntimeError("Failed to copy the specified code path")
        raise error from OSError(errno.ENOSPC, "No space left on device", "served.py", None, "model/served.py")

    write_params(tmp_path / "params.yaml", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.stages.report.run", run)
    assert main(["report"]) == 2
    assert capsys.readouterr().err == "error: model/served.py: No space left on device; make room, and run it again\n"


NO_MORE = """
import resource, sys
from pipeline.__main__ import main
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now, now))
sys.exit(main(["split"]))
"""


@pytest.mark.rehearsal
def test_memory_that_is_not_given_is_one_line(packed: Path) -> None:
    environment = {**CLEAN, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NO_MORE]
    done = subprocess.run(command, cwd=packed, env=environment, capture_output=True, text=True, check=False)
    assert refused(done).startswith("error: split: not enough memory; end other programs")


NONE_TO_BEGIN = """
import resource, runpy
import pipeline
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 4 * 2**20, now + 4 * 2**20))
runpy.run_module("pipeline", run_name="__main__")
"""


def test_memory_that_ends_while_modules_are_read_is_one_line() -> None:
    command = [sys.executable, "-c", NONE_TO_BEGIN]
    done = subprocess.run(command, cwd=ROOT, env=CLEAN, capture_output=True, text=True, check=False)
    assert refused(done).startswith("error: not enough memory; end other programs")


@pytest.mark.parametrize("error", [MemoryError(), ImportError("libXau.so: failed to map segment from shared object")])
def test_want_of_memory_is_known_behind_another_error(error: Exception) -> None:
    another = RuntimeError("the image cannot be read")
    assert not is_for_want_of_memory(another)
    another.__context__ = error
    assert is_for_want_of_memory(another)


@pytest.mark.rehearsal
def test_a_group_may_go_on_with_what_is_made(packed: Path) -> None:
    """The umask says who may write; nothing is narrower than that."""
    target = packed / "group" / "fold-0"
    before = os.umask(0o002)
    try:
        with files.folder_in_one_step(target) as folder:
            files.write(folder / "weights", b"1")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (target.parent, target, target / "weights")] == [0o775, 0o775, 0o664]


@pytest.mark.rehearsal
@AS_ROOT
@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (["split"], "data/splits/PML_RARA.csv: Permission denied; let your account at it"),
        (["train", "NPM1", "0"], ": cannot be written; let your account at it"),  # before TensorFlow is imported
        (["register", "PML_RARA"], ": cannot be written; let your account at it"),
    ],
)
def test_files_of_another_user_are_named(packed: Path, stage: list[str], said: str) -> None:
    if stage[0] == "register":
        (packed / "mlflow.db").touch()
        (packed / "reports/PML_RARA/published").mkdir(parents=True, exist_ok=True)
    assert said in refused(call(packed, *stage, before=tuple(OTHER), HOME="/nowhere"))


@pytest.mark.rehearsal
@AS_ROOT
def test_a_user_without_a_name_or_a_home_predicts(project: Path) -> None:
    """As in a container that is run under any number."""
    shutil.copytree(project, place := project.with_name("unknown"))
    subprocess.run(["chown", "-R", "54321:54321", str(place)], check=True)
    done = call(place, "predict", "new", "--output", "out", before=tuple(OTHER), HOME="/nowhere", MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.rehearsal
@AS_ROOT
def test_a_disk_that_may_only_be_read_is_one_line(packed: Path) -> None:
    command = 'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" || exit 77; exec "$@"'
    done = call(packed, "split", before=("unshare", "--mount", "bash", "-c", command, "-"))
    skip_unless_mounted(done)
    assert re.match(r"error: data/splits/\S+: Read-only file system; ", refused(done))


def skip_unless_mounted(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode in (1, 77) and "denied" in done.stderr + done.stdout and "Traceback" not in done.stderr:
        pytest.skip("may not mount here")


@AS_ROOT
def test_where_processes_cannot_talk_to_each_other_one_does_the_work(tmp_path: Path) -> None:
    code = "from pipeline.common import parallel; parallel.available = lambda: 2; print(sum(parallel.each(abs, [1] * 4000)))"
    command = 'mount -t tmpfs -o ro tmpfs /dev/shm || exit 77; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", command, "-", sys.executable, "-c", code],
        cwd=tmp_path,
        env={**CLEAN, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    skip_unless_mounted(done)
    assert done.stdout == "4000\n", done.stderr
    assert done.stderr.startswith("warning: one core of 2:")
