"""Changes to params.yaml that leave every other character as it is."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from pipeline.common import config, files
from pipeline.common.errors import ConfigError

_WIDTH = 118
_BREAK = "\0"  # where a line may end; in no value that is written


def set_value(keys: Sequence[str], value: Any, path: Path = Path("params.yaml")) -> None:
    """Put `value` in the place of what stands at `keys`, from the top down; where the last key is missing, it is added.

    Raises:
        ConfigError: the file would not be valid with it; it stays as it was.
    """
    text = path.read_text(encoding="utf-8")
    above: Node | None = None
    node: Node | None = YAML(typ="rt", pure=True).compose(text)
    for key in keys:
        above, node = node, _value(node, key)
    with files.in_one_step(path) as unfinished:
        changed = _added(text, above, keys[-1], value) if node is None else _replaced(text, node, value)
        unfinished.write_text(changed, encoding="utf-8")
        _require_only(keys, value, path, unfinished)


def with_values(text: str, changes: Sequence[tuple[Sequence[str], Any]]) -> str:
    """The text of a params.yaml with other values at keys that it has, each given once and none within another.

    Whether it is valid then is the caller's to ask.
    """
    root: Node = YAML(typ="rt", pure=True).compose(text)
    entries = [(*_entry(root, keys), value) for keys, value in changes]
    assert len({id(key) for key, _, _ in entries}) == len(entries)
    for key, node, value in sorted(entries, key=lambda entry: entry[0].start_mark.index, reverse=True):
        text = _with_value(text, key, node, value)  # nothing before it has moved
    return text


def _entry(node: Node, keys: Sequence[str]) -> tuple[Node, Node]:
    """The key and the value of what stands at `keys`."""
    for name in keys:
        assert isinstance(node, MappingNode)
        key, node = next(entry for entry in node.value if entry[0].value == name)
    return key, node


def _with_value(text: str, key: Node, node: Node, value: Any) -> str:
    begin, end = node.start_mark.index, _end(node)
    comment = text[end : text.index("\n", end)]
    if key.end_mark.line < node.start_mark.line:  # a block of lines below the key, which keeps its comment
        begin = key.end_mark.index + 1
        comment = text[begin : text.index("\n", begin)]
        return f"{text[:begin]} {_shown(value)}{_aligned(comment, -1 - len(_shown(value)))}{text[end:]}"
    replaced = _replaced(text, node, value)
    longer = len(replaced) - len(text)
    stop = end + longer
    return replaced[:stop] + _aligned(comment, -longer) + replaced[stop + len(comment) :]


def _aligned(comment: str, by: int) -> str:
    """What stands behind a value, moved to where it stood before if there is room."""
    bare = comment.lstrip(" ")
    return " " * max(1, len(comment) - len(bare) + by) + bare if bare.startswith("#") else comment


def _replaced(text: str, node: Node, value: Any) -> str:
    indent = " " * (_line_indent(text, node.start_mark.index) + 2)
    return text[: node.start_mark.index] + _flow(value, indent, node.start_mark.column) + text[_end(node) :]


def _added(text: str, above: Node | None, key: str, value: Any) -> str:
    """A line behind the last entry of the mapping `above`."""
    assert isinstance(above, MappingNode)
    assert above.value, "params.yaml has no empty mapping in which a key may be missing"
    last_key, last = above.value[-1]
    end = text.find("\n", _end(last))
    indent = " " * last_key.start_mark.column
    line = f"{indent}{key}: "
    return f"{text[:end]}\n{line}{_flow(value, indent + '  ', len(line))}{text[end:]}"


def _require_only(keys: Sequence[str], value: Any, path: Path, unfinished: Path) -> None:
    """Refuse anything else than the one change."""
    before, after = (YAML(typ="safe", pure=True).load(file) for file in (path, unfinished))
    section = before
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = dict(value) if isinstance(value, Mapping) else value
    if before != after:
        raise ConfigError(f"{path}: {'.'.join(keys)} could not be changed alone; write it by hand: {value}")
    try:
        config.load(unfinished)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(unfinished), str(path))) from None


def _value(node: Node | None, key: str) -> Node | None:
    assert isinstance(node, MappingNode)  # params.yaml is valid when this is called
    return next((value for name, value in node.value if name.value == key), None)


def _end(node: Node) -> int:
    """The position behind the value's last character; of a block, before the comments and lines behind it."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _line_indent(text: str, index: int) -> int:
    line = text[text.rfind("\n", 0, index) + 1 :]
    return len(line) - len(line.lstrip(" "))


def _flow(entry: Any, indent: str, column: int) -> str:
    """`{key: value, ...}` that begins in `column`, broken into lines at commas; what is no mapping as it is."""
    if not isinstance(entry, Mapping):
        return _shown(entry)
    words = f",{_BREAK}".join(f"{_shown(key)}:{_BREAK}{_shown(value, _BREAK)}" for key, value in entry.items()).split(_BREAK)
    lines: list[str] = []
    line = "{"
    for word in words:
        before = len(indent) if lines else column
        if before + len(line) + 1 + len(word) > _WIDTH and line != "{":
            lines.append(line)
            line = word
        else:
            line += word if line == "{" else f" {word}"
    return f"\n{indent}".join([*lines, line + "}"])


def _read(text: str, version: tuple[int, int]) -> Any:
    """As readers of this version of YAML have it: NO is false in 1.1, and 12:30 a number."""
    reader = YAML(typ="safe", pure=True)
    reader.version = version
    return reader.load(text)


def _is_plain(text: str) -> bool:
    """Whether every reader takes the bare text for itself: as a value, as a key, and in a list."""
    with warnings.catch_warnings(action="error"):
        try:
            found = [_read(f"a: {text}\nb: {{{text}: [{text}]}}", version) for version in ((1, 2), (1, 1))]
        except Exception:  # whatever the reader stumbles over: a bracket, an anchor, a date that is none
            return False
    return found == [{"a": text, "b": {text: [text]}}] * 2


def _shown(value: Any, between: str = " ") -> str:
    if isinstance(value, list):
        return f"[{f',{between}'.join(_shown(item) for item in value)}]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")  # what YAML 1.1 takes for a number too
    if value is None:
        return "null"
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return value if _is_plain(value) else "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
    return str(value)
