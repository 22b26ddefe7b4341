"""Nobody is kept out of our pages: axe-core finds nothing serious on any, light or dark, at a desk or on a phone.

The pages are those of a tiny cohort with both candidates and a call, and of another hospital, as the commands leave them, in
this system's Chromium.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT, write_params
from playwright.sync_api import Browser, Page, sync_playwright
from ruamel.yaml import YAML
from small_project import SUBTYPES, TINY, call, copy_of_the_repository

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.rehearsal,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]
DESK_PX, PHONE_PX = 1280, 390
SERIOUS = {"serious", "critical"}


COMMANDS = [
    *(["delivery"], ["ingest"], ["validate"], ["deal"], ["split"], ["pack"], ["embed"], ["candidates"], ["weigh"]),
    *(["train", name, "0", "--candidate", "published"] for name in SUBTYPES),
    *(["train_bags"], ["evaluate"], ["call"], ["audit"], ["other_classes"], ["register"], ["explain", "NPM1"], ["report"]),
    *(["curate"], ["transfer", "NPM1"], ["external", "NPM1@champion", "hospital"], ["predict", "hospital/NPM1", "--explain"]),
]
IN_ONE_PROCESS = """
import json, sys
from pipeline.__main__ import main
from pipeline.common import environment

environment.settle()
for command in json.loads(sys.argv[1]):
    if status := main(command):
        sys.exit(f"{command}: {status}")
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every page that a command writes: name and file. They run in one process, which loads TensorFlow once."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("pages"))
    candidates = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["candidates"]
    both = {"kinds.bag": ["bags"], "candidates.bags": candidates["bags"], "call.candidates": ["bags"], "call.coverage": 0.6}
    enough = {"ingest.demo.patients": {"control": 9, "PML_RARA": 9, "NPM1": 9}, "ingest.demo.images_per_patient": [6, 7]}
    little = {
        "train.max_epochs": 1,
        "train.min_epochs": 1,
        "evaluate.draws": 100,
        "audit.permutations": 20,
        "explain.patients": 2,
    }
    newest = {"drift.fewest": 4, "transfer.patients": [2, 4], "transfer.from_scratch": False}
    write_params(folder / "params.yaml", {**TINY, **both, **enough, **little, **newest})
    hospital = ["--scanner", "other", "--patients", "control=6,NPM1=6"]
    call(folder, "python", "-m", "pipeline.demo", "hospital", *hospital)
    call(folder, "python", "-c", IN_ONE_PROCESS, json.dumps(COMMANDS))
    found = (page for place in ("reports", "predictions", "external") for page in sorted((folder / place).rglob("*.html")))
    return {page.relative_to(folder).as_posix(): page for page in found}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


def opened(browser: Browser, address: str, scheme: str, width_px: int) -> Page:
    """The page with all folds open; our policy lets no script in, and axe is one."""
    seen = {"color_scheme": scheme, "viewport": {"width": width_px, "height": 900}, "bypass_csp": True}
    shown = browser.new_context(**seen)
    page = shown.new_page()
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    return page


def serious(page: Page) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found if rule["impact"] in SERIOUS]


@pytest.mark.parametrize(("scheme", "width_px"), [("light", DESK_PX), ("dark", DESK_PX), ("dark", PHONE_PX)])
def test_axe_finds_nothing_serious(pages: dict[str, Path], browser: Browser, scheme: str, width_px: int) -> None:
    kinds = {"reports/index.html", "reports/NPM1/verdicts.html", "reports/validation/data_docs/index.html"}
    kinds |= {"reports/curation/index.html", "reports/transfer/NPM1/index.html", "predictions/NPM1/index.html"}
    kinds |= {"external/NPM1-v1/hospital/index.html"}
    assert kinds < set(pages)
    assert [name for name in pages if "explained" in name]
    assert 'class="drift"' in pages["predictions/NPM1/index.html"].read_text(), "new patients beside those of training"
    found = {}
    for name, file in pages.items():
        address = file.as_uri()
        if file.name == "verdicts.html":  # which shows what its address names; a line of it lies in the report
            address += "#" + file.read_text().split('<main id="', 1)[1].split('"', 1)[0]
        page = opened(browser, address, scheme, width_px)
        sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if problems := serious(page) + [f"{sideways} px must be moved sideways"] * (sideways > 0):
            found[name] = problems
        page.context.close()
    assert found == {}


def test_axe_would_find_it(browser: Browser, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.html").write_text("<html lang='en'><title>t</title><p style='color: #999'>pale</p>")
    assert [rule.split(":")[0] for rule in serious(opened(browser, bad.as_uri(), "light", DESK_PX))] == ["color-contrast"]
