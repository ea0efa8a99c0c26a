"""No function and no file is too long."""

from __future__ import annotations

import ast
from pathlib import Path

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
        if lines > ALLOWED.get(name, TEST if name.startswith("tests/") else SOURCE):
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION:
                    found.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    return found


def test_no_function_and_no_file_is_too_long() -> None:
    """A function has at most 60 lines, a source file and a test file 500."""
    assert too_long() == []
