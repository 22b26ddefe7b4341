"""`python -m flows history`: answered from git, data/decisions.jsonl and DVC's cache, without MLflow."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_history
from processes import CLEAN
from small_history import commit, decision, git

from flows import __main__ as flows
from pipeline.common import paths

WEIGHTS = b"the weights of the first"
EVALUATED = "data/evaluated/NPM1/published.json"


def write(*lines: str) -> None:
    paths.DECISIONS.parent.mkdir(exist_ok=True)
    paths.DECISIONS.write_text("".join(lines))


def lock(results: bytes, weights: bytes) -> str:
    """A dvc.lock that names results and a fold's weights; the digest of the results."""
    digests = small_history.lock({EVALUATED: results, "models/NPM1/published/fold-0": {"coefficients.npz": weights}})
    return digests[EVALUATED]


@pytest.fixture
def project(here: Path) -> Path:
    """A repository in which nothing was decided yet."""
    small_history.start()
    return here


def history(capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> str:
    assert flows.main(["history", "NPM1", *options]) == status
    said = capsys.readouterr()
    return said.err if status == 2 else said.out


def test_a_past_champion_is_named_with_its_reason_and_comes_back_bit_for_bit(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    md5 = lock(b"{}", WEIGHTS)
    weights = {"fold-0": hashlib.sha256(WEIGHTS).hexdigest()}
    first = decision("first000", "2026-01-10", results_md5=md5, weights_sha256=weights)
    write(first)
    held = commit(by="Berta")
    other = lock(b"[]", b"others")
    second = decision("second00", "2026-03-10", "promoted by hand", results_md5=other, replaced="first000", tried_before=None)
    write(first, second)
    commit()
    said = history(capsys, "--on", "2026-02-01")
    assert said.startswith("NPM1, cohort drawn, on 2026-02-01 (end of the day, UTC): published first000\n")
    assert "  why       champion: because of first000\n" in said
    assert re.search(rf"decided   2026-01-10 12:00 UTC by the gate; written down in commit {held[:12]} \(\S+, Berta\)\n", said)
    assert f"held by   commit {held[:12]} " in said
    assert "weights: 1 of 1 folds' in DVC's cache have the SHA-256 that the decision names" in said
    assert "until     2026-03-10 12:00 UTC (published second00 promoted by hand: because of second00)" in said
    typed = [line.strip() for line in said.partition("by:\n")[2].splitlines()]
    script = "\n".join(typed[:3])  # up to `dvc checkout`; what follows registers
    subprocess.run(["bash", "-ec", script], check=True, env=CLEAN, capture_output=True)
    assert next(project.glob(".worktrees/*/models/NPM1/published/fold-0/coefficients.npz")).read_bytes() == WEIGHTS
    assert history(capsys, "--on", "2026-03-10T11:59").startswith(
        "NPM1, cohort drawn, on 2026-03-10 at 11:59 UTC: published first000\n"
    )
    now = history(capsys)
    assert now.startswith("NPM1, cohort drawn, now: published second00\n")
    assert "2026-01-10 12:00 to 2026-03-10 12:00  published first000" in now
    assert "weights: the decision names none" in now


def test_a_champion_from_an_uncommitted_state_is_not_restorable(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock(b"{}", WEIGHTS)
    at = commit()
    write(decision("first000", "2026-01-10", results_md5="0" * 32, commit=at, dirty=True))
    said = history(capsys)
    assert "12:00 UTC by the gate; in no commit yet\n" in said
    assert (
        f"NOT RESTORABLE bit for bit: it was registered from an uncommitted state of commit {at[:12]}, and no commit's dvc.lock"
        " names its results\n"
    ) in said
    assert "git worktree" not in said


def test_what_dvcs_cache_lacks_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    md5 = lock(b"{}", WEIGHTS)
    write(decision("first000", "2026-01-10", results_md5=md5, weights_sha256={"fold-0": "0" * 64}))
    commit()
    assert "weights: not in DVC's cache here, or not those of the decision: fold-0" in history(capsys)
    small_history.kept(md5).unlink()
    assert "DVC's cache here lacks 1 of 2 files; `dvc fetch --all-commits` brings them" in history(capsys)


def test_a_line_that_was_taken_out_breaks_the_chain_and_what_it_changes_is_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = decision("first000", "2026-01-10"), decision("second00", "2026-02-10", "rolled back")
    write(first, decision("first000", "2026-02-10", "rolled back"))
    before = commit()
    write(first, second)
    after = commit(by="Mallory")
    said = history(capsys, status=1)
    broken = rf"BROKEN CHAIN: 1 line of data/decisions.jsonl went between commit {before[:12]} \(.*\) and {after[:12]} \(.*Mall"
    assert re.match(broken, said)
    assert "    2026-02-10 12:00 NPM1 published first000 rolled back: because of first000\n" in said
    assert "by all lines ever written nobody is champion, by those that stand published first000\n" in said
    write(second)
    assert "BROKEN CHAIN: 1 line of data/decisions.jsonl went between commit " in history(capsys, status=1)


def test_branches_that_are_merged_break_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(decision("first000", "2026-01-10"))
    commit()
    git("checkout", "--quiet", "-b", "other")
    write(decision("first000", "2026-01-10"), decision("second00", "2026-02-10"))
    there = commit(by="Berta")
    git("checkout", "--quiet", "main")
    Path(".gitattributes").write_text("data/decisions.jsonl merge=union\n")
    write(decision("first000", "2026-01-10"), decision("third000", "2026-02-01"))
    commit()
    git("merge", "--quiet", "--no-edit", "other")
    said = history(capsys)
    assert said.startswith("NPM1, cohort drawn, now: published second00\n")
    assert f"written down in commit {there[:12]} " in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["NPM2"], "data/decisions.jsonl: has no decision over NPM2; it has some over NPM1"),
        (["NPM1", "--on", "1.11.2026"], "--on 1.11.2026: is no date; write year, month and day, as in 2026-11-01"),
        (["NPM1", "--on", "2025-12-31"], "--on 2025-12-31: the first decision over NPM1 is of 2026-01-10 12:00 UTC"),
        (["NPM1", "--on", "9999-01-01"], "--on 9999-01-01: lies ahead; leave it out for the champion of now"),
    ],
)
def test_a_question_without_an_answer(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    write(decision("first000", "2026-01-10"))
    commit()
    assert flows.main(["history", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_without_git_or_its_older_commits_nothing_is_guessed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert history(capsys, status=2).startswith("error: data/decisions.jsonl: not there, and in no commit; ")
    write(decision("first000", "2026-01-10"))
    commit()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    git("clone", "--quiet", "--depth", "1", project.as_uri(), str(elsewhere / "clone"))
    monkeypatch.chdir(elsewhere / "clone")
    assert history(capsys, status=2).endswith("`git fetch --unshallow` brings them\n")
    monkeypatch.chdir(elsewhere)
    assert history(capsys, status=2).startswith(f"error: {elsewhere}: is no git repository")
    monkeypatch.setenv("PATH", str(elsewhere))
    assert history(capsys, status=2) == "error: git: is not installed; history stands in git's commits\n"


def test_no_mlflow_is_imported_for_it() -> None:
    code = "import sys; from flows import history; sys.exit('mlflow' in sys.modules or 'prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
