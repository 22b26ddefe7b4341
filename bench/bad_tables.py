"""Settings and tables as users bring them, damaged; and what another reader makes of those that are accepted."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import yaml
from ruamel.yaml import YAML

from bench import damage
from bench.guarded import Kind
from pipeline.cohort import patients
from pipeline.common import config
from pipeline.curation import expert_labels, review
from pipeline.folds import ledger, protocol
from pipeline.names import patient_names
from pipeline.registry import decisions
from pipeline.stages import validate

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH")
IMAGES = [f"{'control' if n < 4 else 'NPM1'}/{who}/image_{i}.tif" for n, who in enumerate(PEOPLE) for i in range(3)]
_SNIPPETS = (
    *("&a [*a]", "*nothing", "!!python/object/apply:os.system ['touch written']", "!!python/name:os.system", "!!binary aGk="),
    *(
        "2026-01-01",
        "0o17",
        "0b1",
        "1_000",
        "+1",
        "1e3",
        ".5",
        ".inf",
        ".nan",
        "<<",
        "|",
        ">",
        "{a: 1, a: 2}",
        "!!set {a}",
        "!!str 1",
    ),
    *(
        "[" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "&a [" + "1," * 9 + "1]",
        "!!float 3",
        "!!int '3'",
        "? x",
        "%",
        "@",
        "`",
        "yes",
        "on",
    ),
    "[&a [1,1,1,1,1,1,1,1,1], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], &d [*c,*c,*c,*c,*c,*c,*c,*c], "
    "&e [*d,*d,*d,*d,*d,*d,*d,*d,*d], &f [*e,*e,*e,*e,*e,*e,*e,*e,*e], &g [*f,*f,*f,*f,*f,*f,*f,*f], [*g,*g,*g,*g,*g,*g,*g]]",
)


class _Yaml12(yaml.SafeLoader):
    """PyYAML with the words and numbers of YAML 1.2, as DVC reads params.yaml."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def make_params(rng: random.Random, folder: Path) -> str:
    """params.yaml."""
    source = ROOT / rng.choice(("params.yaml", "params.yaml", "params.kaggle.yaml"))
    text = source.read_text(encoding="utf-8")
    kind, target = rng.random(), folder / "params.yaml"
    if kind < 0.55:
        way, values = damage.values_of(rng, YAML(typ="safe", pure=True).load(text))
        if rng.random() < 0.3:
            way, values = damage.values_of(rng, values)
        try:
            written = io.StringIO()
            YAML(typ="safe", pure=True).dump(values, written)
            target.write_text(written.getvalue(), encoding="utf-8", errors="surrogatepass")
        except Exception:  # some cannot be written as YAML, or have keys that JSON has not
            target.write_text(json.dumps(values, default=str, skipkeys=True), encoding="utf-8")
        return way
    if kind < 0.75:
        ends = [found.start() for found in re.finditer(r"(?<=: )[^\s{\[]|(?<=\[)|(?<={)", text)]
        at = rng.choice(ends)
        stop = at + len(re.match(r"[^\s,}\]]*", text[at:])[0])  # type: ignore[index]
        target.write_bytes((text[:at] + rng.choice(_SNIPPETS) + text[stop:]).encode())
        return "snippet"
    way, data = damage.text_of(rng, text)
    target.write_bytes(data)
    return way


def _wrong_params(folder: Path, found: config.Config) -> str:
    try:
        values = yaml.load((folder / "params.yaml").read_bytes(), _Yaml12)
    except yaml.YAMLError as error:
        return f"the other reader refuses it: {' '.join(str(error).split())[:200]}"
    seen = found.model_dump(by_alias=True, exclude_unset=True)
    return _difference(seen, values)


def _difference(one: Any, other: Any, key: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        if set(one) != set(other):
            return f"{key}: keys {sorted(set(one) ^ set(other), key=str)[:3]}"
        return next((said for name in one if (said := _difference(one[name], other[name], f"{key}.{name}"))), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next(
            (said for n, pair in enumerate(zip(one, other, strict=True)) if (said := _difference(*pair, f"{key}[{n}]"))), ""
        )
    if isinstance(one, float) and not math.isfinite(one):
        return f"{key}: {one} was taken"
    exact = float(other) if isinstance(one, float) and isinstance(other, int) else other  # as a number of that type
    same = one == exact and isinstance(one, bool) == isinstance(other, bool)
    return "" if same else f"{key}: {one!r:.60} is {other!r:.60}"


def _rows(file: Path) -> list[list[str]]:
    """By the csv module alone, of a text in UTF-8: cells without blanks around them, no empty lines."""
    text = file.read_bytes().decode("utf-8-sig")
    separator = ";" if ";" in text.split("\n")[0] else ","
    return [stripped for row in cells(text, separator) if any(stripped := [cell.strip() for cell in row])]


def cells(text: str, separator: str = ",") -> list[list[str]]:
    """By the csv module, which refuses cells that pandas takes, unless told; only this reader is told."""
    usual = csv.field_size_limit(1 << 30)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    finally:
        csv.field_size_limit(usual)


def _table(
    name: str,
    rows: list[list[str]],
    read: Callable[[Path], Any],
    seen: Callable[[Any], list[tuple[str, ...]]],
    expected: Callable[[list[list[str]]], list[tuple[str, ...]]],
) -> Kind:
    """A CSV table of our own form: `seen` of what was read is what is `expected` of the cells."""

    def make(rng: random.Random, folder: Path) -> str:
        way, data = damage.table_of(rng, rows)
        (folder / f"{name}.csv").write_bytes(data)
        return way

    def wrong(folder: Path, value: Any) -> str:
        try:
            other = expected(_rows(folder / f"{name}.csv"))
        except (ValueError, IndexError, csv.Error) as error:
            return f"the other reader refuses it: {error!r}"
        mine = seen(value)
        return "" if sorted(mine) == sorted(other) else f"{sorted(set(mine) ^ set(other))[:3]!r:.300}"

    return Kind(name, make, lambda folder: read(folder / f"{name}.csv"), wrong, (f"{name}.csv", "params.yaml"))


def _by_header(*columns: str) -> Callable[[list[list[str]]], list[tuple[str, ...]]]:
    """The cells of these columns, wherever they stand."""

    def chosen(rows: list[list[str]]) -> list[tuple[str, ...]]:
        header = [cell.lower() for cell in rows[0]]
        if any(header.count(name.lower()) > 1 for name in columns):
            raise ValueError(f"a column is there twice: {header}")
        places = [header.index(name.lower()) for name in columns]
        return [tuple(row[place] for place in places) for row in rows[1:]]

    return chosen


def _exclusions(file: Path) -> list[tuple[str, ...]]:
    from pipeline.images import manifest

    lines = validate._exclusions(file)
    manifest.excluded(IMAGES, lines, str(file))
    return [(one.patient, one.path, one.reason) for one in lines]


_PATIENTS = pd.DataFrame(
    [("control" if n < 4 else "NPM1", who, who.lower(), True, n) for n, who in enumerate(PEOPLE)],
    columns=["class", "patient", "who", "usable", "set"],
)
_TIME = "2026-01-31"
REVIEW = [
    [*review.COLUMNS],
    *[[path, path.split("/")[1], word, "Ann", _TIME] for path, word in zip(IMAGES, [*review.DECISIONS] * 5, strict=False)],
]
_LABELS = [["", "typical lymphocyte", "p", who, f"{i}.TIF"] for who in PEOPLE for i in range(3)]


def _metadata_rows() -> list[list[str]]:
    header = ["patient_id", "sex_1f_2m", "age", "bag_label", "instance_count", "leucocytes_per_µl", "pb_myeloblast", "remark"]
    cells = [
        [who, str(1 + n % 2), str(30 + n), "control" if n < 4 else "NPM1", "3", str(5000 + n), str(1.5 * n), "none"]
        for n, who in enumerate(PEOPLE)
    ]
    return [header, *cells]


def _make_metadata(rng: random.Random, folder: Path) -> str:
    way, data = damage.table_of(rng, _metadata_rows())
    (folder / "metadata.csv").write_bytes(data)
    return way


def _make_workbook(rng: random.Random, folder: Path) -> str:
    import openpyxl

    book = openpyxl.Workbook()
    for row in _metadata_rows():
        book.active.append([float(cell) if re.fullmatch(r"[\d.]+", cell) else cell for cell in row])  # type: ignore[union-attr]
    way = "bytes"
    if rng.random() < 0.5:
        way = "cell"
        for _ in range(rng.choice((1, 3))):
            value = rng.choice(
                (odd if isinstance(odd := damage.odd_value(rng), str | int | float | bool) else None, damage.odd_text(rng))
            )
            try:
                book.active.cell(rng.randint(1, 10), rng.randint(1, 9)).value = value  # type: ignore[union-attr]
            except Exception:  # no workbook can hold it
                continue
    kept = io.BytesIO()
    try:
        book.save(kept)
    except Exception:  # no workbook can hold it: another one is made
        return _make_workbook(rng, folder)
    data = kept.getvalue() if way == "cell" else damage.bytes_of(rng, kept.getvalue())[1]
    (folder / "metadata.xlsx").write_bytes(data)
    return way


def _wrong_metadata(folder: Path, found: pd.DataFrame) -> str:
    """Patients and ages, by the csv module; what is not UTF-8 or has no header on top is judged by its patients alone."""
    file = folder / "metadata.csv"
    data = file.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        encoding = "utf-32"
    elif encoding == "utf-8-sig":
        try:
            data.decode("utf-8-sig")
        except UnicodeDecodeError:
            encoding = "cp1252"
        if data[1::2].count(0) * 4 > len(data):
            encoding = "utf-16-le"
    text = data.decode(encoding, "replace")
    best: list[list[str]] = []
    for separator in ",;\t|":
        rows = [row for row in cells(text, separator) if any(row)]
        heads = [n for n, row in enumerate(rows) if "patient_id" in [cell.strip().lower() for cell in row]]
        if heads and len(rows[heads[0]]) > len(best[0] if best else [""]):
            best = rows[heads[0] :]
    if not best:
        return "the other reader finds no header"
    header = [cell.strip().lower() for cell in best[0]]
    for name in ("patient_id", "age", "sex_1f_2m"):
        if header.count(name) > 1:
            return f"column {name} is there twice"
    expected = {}
    for row in best[1:]:
        who = patient_names.identity(row[header.index("patient_id")]) if len(row) > header.index("patient_id") else ""
        age = row[header.index("age")].strip() if "age" in header and len(row) > header.index("age") else ""
        if who:
            expected[who] = "" if age.lower() in patients._MISSING else f"{float(age.replace(',', '.')):.10g}"
    seen = {patient_names.identity(who): age for who, age in zip(found.index, found["age"], strict=True)}
    return "" if seen == expected else f"{sorted(set(seen.items()) ^ set(expected.items()))[:3]!r:.300}"


def _wrong_workbook(folder: Path, found: pd.DataFrame) -> str:
    other = pd.read_excel(folder / "metadata.xlsx", dtype=object, header=None, keep_default_na=False, engine="openpyxl")
    heads = [n for n, row in enumerate(other.values.tolist()) if "patient_id" in [str(cell).strip().lower() for cell in row]]
    if not heads:
        return "the other reader finds no header"
    header = [str(cell).strip().lower() for cell in other.iloc[heads[0]]]
    if header.count("patient_id") > 1 or header.count("age") > 1:
        return "a column is there twice"
    names = [_plain(value) for value in other.iloc[heads[0] + 1 :, header.index("patient_id")]]
    expected = {who for name in names if (who := patient_names.identity(name))}
    seen = {patient_names.identity(who) for who in found.index}
    return "" if seen == expected else f"{sorted(seen ^ expected)[:3]!r:.300}"


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _make_decisions(rng: random.Random, folder: Path) -> str:
    line = {
        "time": "2026-01-01T00:00:00Z",
        "subtype": "NPM1",
        "cohort": "demo",
        "candidate": "bags",
        "decision": "champion",
        "reason": "first",
        "tried_before": 0,
        "digest": "ab",
        "weights_sha256": {"fold-0": "cd"},
        "patients_sha256": "ef",
        "results_md5": "",
        "commit": "",
        "dirty": False,
        "replaced": None,
    }
    lines = [{**line, "digest": f"{n}", "time": f"2026-01-0{n}T00:00:00Z"} for n in range(1, 5)]
    way = "text"
    if rng.random() < 0.6:
        way, lines = damage.values_of(rng, lines)
    text = "".join(json.dumps(one, default=str, skipkeys=True) + "\n" for one in lines)
    data = text.encode("utf-8", "surrogatepass")
    if way == "text":
        way, data = damage.text_of(rng, text)
    (folder / "decisions.jsonl").write_bytes(data)
    return way


def _wrong_decisions(folder: Path, found: list[decisions.Decision]) -> str:
    seen = sorted(one.digest for one in found)
    lines = (folder / "decisions.jsonl").read_bytes().split(b"\n")
    other = sorted({json.dumps(json.loads(line), sort_keys=True) for line in lines if line.strip()})
    expected = sorted(json.loads(line)["digest"] for line in other)
    return "" if seen == expected else f"{seen} is {expected}"


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield Kind("params.yaml", make_params, lambda folder: config.load(Path("params.yaml")), _wrong_params, ("params.yaml",))
    yield Kind(
        "metadata.csv",
        _make_metadata,
        lambda folder: patients.read(Path("metadata.csv").read_bytes(), "metadata.csv"),
        _wrong_metadata,
        ("metadata.csv",),
    )
    yield Kind(
        "metadata.xlsx",
        _make_workbook,
        lambda folder: patients.read(Path("metadata.xlsx").read_bytes(), "metadata.xlsx"),
        _wrong_workbook,
        ("metadata.xlsx",),
    )
    yield _table(
        "exclude",
        [["patient", "path", "reason"], *[[path.split("/")[1], path, "why"] for path in IMAGES[:4]], ["GGG", "", "no"]],
        _exclusions,
        lambda found: found,
        _by_header("patient", "path", "reason"),
    )
    yield _table(
        "review",
        REVIEW,
        lambda file: review.read(file, set(IMAGES), False),
        lambda found: [(one.path, patient_names.identity(one.patient), one.decision) for one in found],
        lambda rows: sorted(
            {(row[0], patient_names.identity(row[1]), row[2].lower().replace("\u2019", "'")) for row in rows[1:]}
        ),
    )
    yield _table(
        "folds",
        [["patient", "fold"], *[[who, str(n % 3)] for n, who in enumerate(PEOPLE)]],
        lambda file: ledger.read(file, patient_names.identity),
        lambda found: [(str(row["who"]), str(int(row["fold"]))) for _, row in found.iterrows()],
        lambda rows: sorted(
            {(patient_names.identity(who), str(int(fold))) for who, fold in _by_header("patient", "fold")(rows)}
        ),
    )
    yield _table(
        "dealing",
        [["patient", "fold"], *[[who, str(n % 3)] for n, who in enumerate(PEOPLE)]],
        lambda file: protocol.read(file, _PATIENTS, 3, [0], 20, patient_names.identity),
        lambda found: [(who, str(fold)) for who, fold in found.folds.items()],
        lambda rows: [(patient_names.identity(who), str(int(fold))) for who, fold in _by_header("patient", "fold")(rows)],
    )
    yield _table(
        "labels",
        [["", *expert_labels.NEEDED[:1], "prediction", *expert_labels.NEEDED[1:]], *_LABELS],
        lambda file: expert_labels.read(file, IMAGES, False),
        lambda found: [("n", str(len(found)))],
        lambda rows: [
            (
                "n",
                str(
                    len(
                        {
                            (patient_names.identity(who), int(re.findall(r"\d+", name)[0]))
                            for who, name in _by_header("ID", "im_tiffname")(rows)
                            if patient_names.identity(who) in map(str.lower, PEOPLE) and int(re.findall(r"\d+", name)[0]) < 3
                        }
                    )
                ),
            )
        ],
    )
    yield Kind(
        "decisions.jsonl",
        _make_decisions,
        lambda folder: decisions.parse(Path("decisions.jsonl").read_bytes(), "decisions.jsonl"),
        _wrong_decisions,
        ("decisions.jsonl",),
    )
