"""Every item of TRIPOD+AI is answered from the files or left to the authors by name."""

import pytest
from ruamel.yaml import YAML

from pipeline.pages import checklist

PAGE = {"subtypes": [{"candidates": [{"anchor": "NPM1"}]}]}


def test_all_27_items_have_an_answer_or_a_word_on_what_the_authors_write() -> None:
    rows = YAML(typ="safe", pure=True).load(checklist.TABLE)
    assert [str(row["item"]).rstrip("abcdefg") for row in rows] == sorted(
        (str(row["item"]).rstrip("abcdefg") for row in rows), key=int
    )
    assert {int(str(row["item"]).rstrip("abcdefg")) for row in rows} == set(range(1, 28))
    assert all(row.get("answer") or row.get("authors") for row in rows)
    assert {row["answer"] for row in rows if "answer" in row} == set(checklist.ANSWERS), "no function is left over"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{item: 7, part: A, asks: "B"}', "item 7 is neither answered nor left to the authors"),
        ('{item: 7, part: A, asks: "B", answer: nobody_knows, see: page.size}', "item 7: no answer nobody_knows"),
        ('{item: 7, part: A, asks: "B", answer: code}', "item 7: no answer code, or no place to see"),
    ],
)
def test_an_item_without_either_is_refused(tmp_path, row, said) -> None:
    table = tmp_path / "items.yaml"
    table.write_text(f"- {row}\n")
    with pytest.raises(ValueError, match=said):
        checklist.items(PAGE, table)
