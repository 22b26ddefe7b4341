"""Changes to params.yaml that leave every other character as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from pipeline.common import config
from pipeline.common.errors import ConfigError

_WIDTH = 118


def set_network(subtype: str, entry: Mapping[str, Any], path: Path = Path("params.yaml")) -> None:
    """Put `entry` in the place of `train.models.<subtype>`.

    Raises:
        ConfigError: the file would not be valid with it; it stays as it was.
    """
    text = path.read_text(encoding="utf-8")
    node = YAML(typ="rt", pure=True).compose(text)
    for key in ("train", "models", subtype):
        node = _value(node, key)
    indent = " " * (_line_indent(text, node.start_mark.index) + 2)
    replaced = text[: node.start_mark.index] + _flow(entry, indent, node.start_mark.column) + text[_end(node) :]
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(replaced, encoding="utf-8")
        _require_only(subtype, entry, path, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _require_only(subtype: str, entry: Mapping[str, Any], path: Path, partial: Path) -> None:
    """Refuse anything else than the one change."""
    before, after = (YAML(typ="safe", pure=True).load(file) for file in (path, partial))
    before["train"]["models"][subtype] = dict(entry)
    if before != after:
        raise ConfigError(f"{path}: train.models.{subtype} could not be changed alone; write it by hand: {dict(entry)}")
    config.load(partial)


def _value(node: Node, key: str) -> Node:
    assert isinstance(node, MappingNode)  # params.yaml is valid when this is called
    found: Node = next(value for name, value in node.value if name.value == key)
    return found


def _end(node: Node) -> int:
    """Where the value's last character ends: of a block, not the comments and lines behind it."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _line_indent(text: str, index: int) -> int:
    line = text[text.rfind("\n", 0, index) + 1 :]
    return len(line) - len(line.lstrip(" "))


def _flow(entry: Mapping[str, Any], indent: str, column: int) -> str:
    """`{key: value, ...}` that begins in `column`, broken into lines at commas."""
    words = ", ".join(f"{key}: {_shown(value)}" for key, value in entry.items()).split(" ")
    lines: list[str] = []
    line = "{"
    for word in words:
        before = len(indent) if lines else column
        if before + len(line) + 1 + len(word) > _WIDTH and line.endswith((",", ":")):
            lines.append(line)
            line = word
        else:
            line += word if line == "{" else f" {word}"
    return f"\n{indent}".join([*lines, line + "}"])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")  # what YAML 1.1 takes for a number too
    if isinstance(value, str):
        return value if YAML(typ="safe", pure=True).load(value) == value else f'"{value}"'
    return str(value)
