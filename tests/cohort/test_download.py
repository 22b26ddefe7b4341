"""Kaggle's real client against a stand-in on loopback: what drops is resumed, what fails is one line and leaves nothing."""

from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, write_params
from kaggle_service import ENVIRONMENT, Kaggle, point_the_client
from processes import wait

from pipeline.__main__ import main
from pipeline.cohort import download

FOREIGN = ("KAGGLE", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
PARAMS = {
    "subtypes": ["NPM1"],
    "candidates.published.networks": {"NPM1": NETWORK},
    "ingest.source": "kaggle",
    "ingest.kaggle": {"dataset": "some/cells", "version": 3},
}
SECRET = "KGAT_0123456789abcdef"


def archive(filler: int = 4096) -> bytes:
    """A cohort as a ZIP; images of `filler` random bytes, so that it does not shrink."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for class_name, patient in (("control", "AAA"), ("NPM1", "CCC")):
            for n in (1, 2, 10):
                file.writestr(f"data/{class_name}/{patient}/image_{n}.tif", os.urandom(filler))
    return buffer.getvalue()


_INGEST = """
import sys
from kaggle_service import point_the_client
from pipeline.__main__ import main
point_the_client(sys.argv[1])
sys.exit(main(["ingest"]))
"""
Ingest = Callable[..., tuple[int, str]]


def start(folder: Path, service: Kaggle) -> subprocess.Popen[str]:
    """`python -m pipeline ingest` in a home of its own, against the stand-in."""
    write_params(folder / "params.yaml", PARAMS)
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(FOREIGN)}
    return subprocess.Popen(
        [sys.executable, "-c", _INGEST, service.address],
        cwd=folder,
        env={
            **kept,
            "HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
            **ENVIRONMENT,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def ingest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The same in this process: (exit status, all that it said)."""
    for name in [name for name in os.environ if name.upper().startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "_WAIT_S", 0.01)
    # At every call the client looks for the module of each of its callers' frames: seconds of work within pytest.
    monkeypatch.setattr(inspect, "stack", lambda *_: [])
    monkeypatch.chdir(tmp_path)

    def call(service: Kaggle, **environment: str) -> tuple[int, str]:
        write_params(tmp_path / "params.yaml", PARAMS)
        point_the_client(service.address)
        for name, value in {**ENVIRONMENT, **environment}.items():
            monkeypatch.setenv(name, value)
        status = main(["ingest"])
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def the_error(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return line


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("data/*"))


def test_an_archive_is_fetched_unpacked_and_thrown_away(tmp_path: Path) -> None:
    with Kaggle(archive()) as service:
        running = start(tmp_path, service)
        said = "".join(running.communicate())
    assert running.returncode == 0, said
    assert sorted(p.name for p in (tmp_path / "data/raw/NPM1/CCC").iterdir()) == ["image_1.tif", "image_10.tif", "image_2.tif"]
    assert json.loads((tmp_path / "data/source.json").read_text())["files"] == 6
    assert not (tmp_path / ".downloads").exists()
    assert not (tmp_path / "home").exists()  # nothing in the client's usual cache


def test_what_a_killed_run_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    with Kaggle(archive(1_500_000), stalls=3 * 2**20) as service:
        running = start(tmp_path, service)
        assert service.stalled.wait(600)
        fetched = (tmp_path / ".downloads").rglob
        wait(lambda: any(file.stat().st_size >= 2**20 for file in fetched("*.archive")), "what was sent to be written")
        running.kill()
        running.communicate()
        assert left_behind(tmp_path) == []
        service.resumed.set()
        again = start(tmp_path, service)
        said = "".join(again.communicate())
    assert again.returncode == 0, said
    assert {asked for asked, _ in service.served if asked} <= {f"bytes={n * 2**20}-" for n in (1, 2, 3)}
    assert any(asked for asked, _ in service.served)


def test_a_dropped_connection_is_resumed_where_it_dropped(ingest: Ingest) -> None:
    with Kaggle(archive(1_500_000), drops=[3_500_000]) as service:
        status, said = ingest(service)
    assert status == 0, said
    assert "connection dropped; trying again" in said
    assert [asked for asked, _ in service.served if asked] == [f"bytes={3 * 2**20}-"]  # the client keeps whole MiB
    assert json.loads(Path("data/source.json").read_text())["bytes"] == 6 * 1_500_000


def test_a_connection_that_keeps_dropping_ends_in_one_line_and_keeps_what_came(ingest: Ingest) -> None:
    with Kaggle(archive(1_500_000), drops=[2_200_000] + [0] * 20) as service:
        status, said = ingest(service)
    assert status == 75
    assert the_error(said).endswith(
        "5 times in a row; look at the network, run again; 2.1 MB are kept and the next run goes on from there"
    )
    assert left_behind(Path()) == []


def test_bytes_that_do_not_match_their_checksum_are_fetched_again(ingest: Ingest) -> None:
    with Kaggle(archive(), forged=1) as service:
        status, said = ingest(service)
    assert status == 0, said
    assert "do not match their checksum; trying again" in said


def test_a_silent_server_is_asked_again(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", (1.0, 0.3))
    with Kaggle(archive(1_500_000), stalls=2**20) as service:
        status, said = ingest(service)
    assert status == 0, said
    assert "connection dropped; trying again" in said


@pytest.mark.parametrize(
    ("service", "environment", "expected"),
    [
        (Kaggle(b"", token="right"), {}, "kaggle: asks for a credential; set KAGGLE_API_TOKEN"),
        (Kaggle(b"", token="right"), {"KAGGLE_API_TOKEN": SECRET}, "kaggle: refuses the credential of KAGGLE_API_TOKEN"),
        (
            Kaggle(b"", token="right"),
            {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": SECRET},
            "kaggle: refuses the credential of KAGGLE_USERNAME and KAGGLE_KEY",
        ),
        (Kaggle(b"", refuses=403), {"KAGGLE_API_TOKEN": SECRET}, "is not open to the credential of KAGGLE_API_TOKEN"),
        (Kaggle(b"", refuses=404), {}, "kaggle: there is no data set some/cells"),
        (Kaggle(b"", refuses=503), {}, "kaggle: the service answers 503, 5 times in a row"),
        (Kaggle(b"", version=2), {}, "kaggle: some/cells has no version 3 (newest: 2)"),
        (Kaggle(b"", total_bytes=10**18), {}, "needs 1,000,000,000.00 GB more"),
        (Kaggle(archive()[:9000]), {}, "not a ZIP archive, or a part of one"),
    ],
)
def test_what_fails_is_one_line_and_leaves_nothing(
    ingest: Ingest, service: Kaggle, environment: dict[str, str], expected: str
) -> None:
    with service:
        status, said = ingest(service, **environment)
    assert status == (75 if service.refuses == 503 else 2)
    assert expected in the_error(said)
    assert SECRET not in said
    assert left_behind(Path()) == []
    assert not list(Path(".downloads").rglob("*.archive"))


def test_a_damaged_archive_is_thrown_away_and_one_over_a_limit_is_kept(ingest: Ingest) -> None:
    content = bytearray(archive())
    content[200] ^= 255  # in the first image
    with Kaggle(bytes(content)) as service:
        assert "image_1.tif: damaged (" in the_error(ingest(service)[1])
        assert not Path(".downloads").exists()
        service.archive = archive()
        PARAMS["ingest.archive.max_files"] = 5
        try:
            assert "more than ingest.archive.max_files (5)" in the_error(ingest(service)[1])
        finally:
            del PARAMS["ingest.archive.max_files"]
        assert list(Path(".downloads").rglob("*.archive"))
        fetched = len(service.served)
        assert ingest(service)[0] == 0
    assert sum(sent for _, sent in service.served[fetched:]) <= len(service.archive)
    assert left_behind(Path()) != []


def test_a_newer_version_is_told_and_not_taken(ingest: Ingest) -> None:
    with Kaggle(archive(), version=4) as service:
        status, said = ingest(service)
    assert status == 0
    assert "some/cells has a newer version, 4; params.yaml asks for 3" in said


def test_a_newer_version_is_new_until_it_is_ingested(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    with Kaggle(archive()) as service:
        assert ingest(service)[0] == 0
        assert main(["source"]) == 0
        service.version = 4
        assert main(["source", "--take"]) == 3
        assert "version: 4" in Path("params.yaml").read_text()
        assert main(["source"]) == 3  # pinned, but not ingested


def test_a_stale_file_that_beats_good_variables_is_named(ingest: Ingest) -> None:
    token = Path("home/.kaggle/access_token").absolute()
    token.parent.mkdir(parents=True)
    token.write_text(SECRET)
    with Kaggle(b"", token="right") as service:
        _, said = ingest(service, KAGGLE_USERNAME="me", KAGGLE_KEY="good")
    assert f"refuses the credential of {token}" in the_error(said)
    assert SECRET not in said


def test_no_network_is_one_line(ingest: Ingest) -> None:
    with Kaggle(b"") as gone:
        pass
    status, said = ingest(gone)
    assert status == 75
    assert "kaggle: the service cannot be reached, or the connection dropped, 5 times in a row" in the_error(said)


def test_the_private_names_that_are_replaced_still_exist() -> None:
    from kagglehub import http_resolver
    from kagglesdk.kaggle_http_client import KaggleHttpClient

    assert callable(http_resolver._extract_archive)
    assert callable(KaggleHttpClient._init_session)
