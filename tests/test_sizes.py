"""No function and no file is too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from house.parsing import parse_module, without_collecting_garbage

pytestmark = pytest.mark.one_process("syntax trees")
ROOT = Path(__file__).resolve().parents[1]
FUNCTION, SOURCE, TEST = 60, 500, 500
# May only shrink.
ALLOWED: dict[str, int] = {}


def too_long() -> list[str]:
    found = []
    for path in [*(ROOT / "synapse_apply").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        is_test = name.startswith("tests/")
        if lines > ALLOWED.get(name, TEST if is_test else SOURCE):
            found.append(f"{name}: {lines} lines")
        if lines <= FUNCTION:
            continue
        # Other tests have use for the trees of the package, none for those of the tests.
        for node in iter_statements(ast.parse(text) if is_test else parse_module(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION:
                    found.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    return found


def iter_statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements below a node, at any depth: an eighth of what `ast.walk` gives."""
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield child
            yield from iter_statements(child)


def test_no_function_and_no_file_is_too_long() -> None:
    """A function has at most 60 lines, a source file and a test file 500."""
    with without_collecting_garbage():
        assert too_long() == []
