"""Two syntax trees side by side: equal but for identifiers, docstrings and imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from house.scopes import FUNCTIONS

# The fields that hold an identifier, by type of node.
_NAMES = {
    ast.Name: "id",
    ast.arg: "arg",
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ClassDef: "name",
    ast.ExceptHandler: "name",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.MatchMapping: "rest",
    ast.Attribute: "attr",
    ast.keyword: "arg",
}
_BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "__setattr__"}
_OF_MEMBERS = {"attrgetter", "methodcaller", "vars"}


class DifferentShapeError(Exception):
    """The trees are not equal; `line` is where in the new one."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True)
class Pair:
    """An identifier or a text, before and after, with the nodes that hold it.

    `kind` is name, attribute, keyword, text or import. `owner` is the expression whose attribute it
    is, or the function that a keyword is given to.
    """

    kind: str
    old: str
    new: str
    before: ast.AST
    after: ast.AST
    key: str
    line: int
    owner: ast.AST | None = None
    imports: tuple[list[object], ...] = ()


def pair_trees(before: ast.AST, after: ast.AST) -> Iterator[Pair]:
    """Every identifier and text; DifferentShapeError where the trees differ in anything else."""
    yield from _Walk().pair(before, after)


class _Walk:
    """`line` is the newest line of the new tree, for nodes that have none."""

    def __init__(self) -> None:
        self.line = 1
        self.owners: dict[int, ast.AST] = {}

    def pair(self, before: ast.AST, after: ast.AST) -> Iterator[Pair]:
        self.line = getattr(after, "lineno", self.line)
        if type(before) is not type(after):
            raise DifferentShapeError(self.line, f"{_describe(before)} is {_describe(after)} now")
        self._note_owners(before)
        if isinstance(before, ast.Constant) and isinstance(after, ast.Constant):
            yield from self._pair_constants(before, after)
            return
        key = _NAMES.get(type(before), "")
        if key:
            yield from self._pair_names(before, after, key)
        for name in before._fields:
            if name not in {key, "ctx", "kind", "type_comment"}:
                yield from self._pair_fields(before, after, name)

    def _note_owners(self, node: ast.AST) -> None:
        """Which texts and keywords below a node are names of something of an expression."""
        if isinstance(node, ast.Call):
            self.owners |= {id(keyword): node.func for keyword in node.keywords}
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = [argument for argument in node.args if isinstance(argument, ast.Constant)]
            if called in _BY_NAME and len(node.args) > 1 and node.args[1] in texts:
                self.owners[id(node.args[1])] = node.args[0]
            elif called in _OF_MEMBERS:
                self.owners |= {id(text): node.func for text in texts}
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "id", "") == "vars" and node.value.args:
                self.owners[id(node.slice)] = node.value.args[0]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0]
            if target.id in {"__slots__", "__all__"}:
                below = (
                    constant
                    for constant in ast.walk(node.value)
                    if isinstance(constant, ast.Constant)
                )
                self.owners |= {id(constant): target for constant in below}

    def _pair_constants(self, before: ast.Constant, after: ast.Constant) -> Iterator[Pair]:
        old, new = before.value, after.value
        if isinstance(old, str) and isinstance(new, str):
            if old != new:
                owner = self.owners.get(id(before))
                kind = "text" if owner is None else "attribute"
                yield Pair(kind, old, new, before, after, "value", self.line, owner)
        elif (type(old), repr(old)) != (type(new), repr(new)):
            raise DifferentShapeError(self.line, f"{old!r} is {new!r} now")

    def _pair_names(self, before: ast.AST, after: ast.AST, key: str) -> Iterator[Pair]:
        old, new = getattr(before, key), getattr(after, key)
        if (old is None) != (new is None):
            raise DifferentShapeError(self.line, f"{_describe(before)} has got or lost a name")
        if old is None:
            return
        kind, owner = "name", None
        if isinstance(before, ast.Attribute):
            kind, owner = "attribute", before.value
        elif isinstance(before, ast.keyword):
            kind, owner = "keyword", self.owners.get(id(before))
        yield Pair(kind, old, new, before, after, key, self.line, owner)

    def _pair_fields(self, before: ast.AST, after: ast.AST, name: str) -> Iterator[Pair]:
        old, new = getattr(before, name, None), getattr(after, name, None)
        if isinstance(old, list) and isinstance(new, list):
            yield from self._pair_lists(before, after, name, (old, new))
        elif isinstance(old, ast.AST) and isinstance(new, ast.AST):
            yield from self.pair(old, new)
        elif old != new:
            raise DifferentShapeError(self.line, f"{_describe(before)}: its {name} is another one")

    def _pair_lists(
        self, before: ast.AST, after: ast.AST, name: str, lists: tuple[list[object], list[object]]
    ) -> Iterator[Pair]:
        imports = tuple([statement for statement in each if is_import(statement)] for each in lists)
        if any(imports):
            yield Pair("import", "", "", before, after, name, self.line, imports=imports)
        old_items, new_items = (
            [statement for statement in each if not is_import(statement)] for each in lists
        )
        if name == "body":
            for node, items in ((before, old_items), (after, new_items)):
                if has_docstring(node):
                    items.pop(0)
        if len(old_items) != len(new_items):
            counts = f"{len(old_items)} {name} before, {len(new_items)} now"
            raise DifferentShapeError(self.line, f"{_describe(before)}: {counts}")
        for number, (old, new) in enumerate(zip(old_items, new_items, strict=True)):
            if isinstance(old, ast.AST) and isinstance(new, ast.AST):
                yield from self.pair(old, new)
            elif isinstance(old, str) and isinstance(new, str):
                is_pattern = isinstance(before, ast.MatchClass)
                kind, owner = ("attribute", before.cls) if is_pattern else ("name", None)
                yield Pair(kind, old, new, before, after, f"{name}{number}", self.line, owner)
            elif old is not new:
                raise DifferentShapeError(self.line, f"{_describe(before)}: {name} differ")


def is_import(node: object) -> bool:
    """Whether a statement only imports."""
    return isinstance(node, ast.Import | ast.ImportFrom)


def has_docstring(node: ast.AST) -> bool:
    """Whether the first statement of a body is one."""
    if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)) or not node.body:
        return False
    first = node.body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return is_text and isinstance(first.value.value, str)


def _describe(node: ast.AST) -> str:
    name = getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "attr", None)
    return f"{type(node).__name__} {name}" if name else type(node).__name__
