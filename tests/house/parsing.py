"""The sources of the package as syntax trees: each is parsed once in a process.

Tests of trees are marked `one_process("syntax trees")`, so that they share that process
(tests/order.py).
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@contextmanager
def without_collecting_garbage() -> Iterator[None]:
    """Trees hold no cycles, and to look for some in them takes as long as to parse them."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if is_enabled:
            gc.enable()


@cache
def parse_module(path: Path) -> ast.Module:
    with without_collecting_garbage():
        return ast.parse(path.read_bytes())


@cache
def list_nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module, as `ast.walk` gives them."""
    with without_collecting_garbage():
        return tuple(ast.walk(parse_module(path)))


def find_dotted_name_or_empty(node: ast.AST) -> str:
    """`a` or `a.b`, as `ast.unparse` writes it in many times the time; of anything else, nothing."""
    if isinstance(node, ast.Attribute):
        owner = find_dotted_name_or_empty(node.value)
        return owner and f"{owner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
