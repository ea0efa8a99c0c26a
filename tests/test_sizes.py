"""The tail is governed: no long function, no long file (design section 2)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUNCTION, SOURCE, TEST = 50, 350, 400
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
    """A function has at most 50 lines, a source file 350, a test file 400."""
    assert too_long() == []
