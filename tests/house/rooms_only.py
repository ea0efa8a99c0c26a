"""Proof that a commit only moves things to other files: `python -m house.rooms_only BASE [HEAD]`.

What stands at the top of the modules is the same before and after, by digests of its trees, in
whatever files; imports, docstrings and comments left aside. A name that stands for a thing of
ours, by import or as an attribute of a module, counts as that thing, whatever the module is called.
Rows of the rename map that name modules say what becomes of texts with a module's name.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from house.facts import Facts, Module, collect_facts
from house.renames import RenameMap, read_rename_map
from house.revisions import WORKING_TREE, Revision, read_revision
from house.scopes import BUILTIN, FUNCTIONS
from house.shapes import has_docstring, is_import
from house.words_only import MAY_DIFFER, RENAMES


@dataclass(frozen=True)
class Definition:
    """A statement at the top of a module: what it binds, where, and the digest of its tree."""

    name: str
    digest: str
    position: str = field(compare=False)


class _Digester:
    """Digests of the statements of one revision, as they are after the moves of the map."""

    def __init__(self, facts: Facts, renames: RenameMap) -> None:
        self._facts = facts
        self._renames = renames
        self._shape_of = lru_cache(maxsize=None)(self._build_shape)
        self._tops = {
            f"{module.name}:{name}": (module, node)
            for module in facts.modules.values()
            for node in list_top_statements(module.tree)
            for name in list_bound_names(node)
        }

    def list_definitions(self) -> Iterator[Definition]:
        for module in self._facts.modules.values():
            for node in list_top_statements(module.tree):
                text = "".join(self._write(module, node))
                digest = hashlib.sha256(text.encode()).hexdigest()
                name = ", ".join(list_bound_names(node)) or type(node).__name__
                yield Definition(name, digest, f"{module.path}:{node.lineno}")

    def _build_shape(self, entity: str) -> str:
        """What tells a thing of ours without its module: its name, and its tree but for references."""
        top, _, rest = entity.partition(":")[2].partition(".")
        definition = self._tops.get(f"{entity.partition(':')[0]}:{top}")
        if definition is None:
            return f"{top}.{rest} of {self._renames.move_module(entity.partition(':')[0])}"
        tree = "".join(self._write(*definition, is_shallow=True))
        return f"{top}.{rest} {hashlib.sha256(tree.encode()).hexdigest()}"

    def _write(self, module: Module, node: object, *, is_shallow: bool = False) -> Iterator[str]:
        """A tree as text, a piece at a time."""
        if isinstance(node, list):
            yield "["
            for child in node:
                if not is_import(child):
                    yield from self._write(module, child, is_shallow=is_shallow)
            yield "]"
        elif not isinstance(node, ast.AST):
            yield f"{node!r},"
        elif (reference := self._refer(module, node, is_shallow=is_shallow)) is not None:
            yield reference
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield f"text {self._renames.move_text(module.name, node.value)!r},"
        else:
            yield f"{type(node).__name__}("
            for name in node._fields:
                value = getattr(node, name, None)
                if name == "body" and has_docstring(node):
                    value = value[1:]
                if name not in {"ctx", "kind", "type_comment"}:
                    yield from self._write(module, value, is_shallow=is_shallow)
            yield ")"

    def _refer(self, module: Module, node: ast.AST, *, is_shallow: bool) -> str | None:
        """What an expression stands for, where that is a thing of ours or is imported."""
        if not isinstance(node, ast.Name | ast.Attribute):
            return None
        entity = self._facts.entity_of(module, node)
        if entity is not None and isinstance(node, ast.Name) and node.id in {"self", "cls"}:
            return None
        if entity is not None:
            if ":" not in entity:
                return f"<{self._renames.move_module(entity)}>"
            name = entity.partition(":")[2]
            return f"<{name}>" if is_shallow else f"<{self._shape_of(entity)}>"
        if isinstance(node, ast.Name) and (binding := module.names.binding_of(node, "id")):
            origin = module.names.origin_of(binding) if binding[0] != BUILTIN else None
            return f"<{'.'.join(origin)}>" if origin is not None else None
        return None


def list_top_statements(tree: ast.Module) -> list[ast.stmt]:
    """Those that define or do something: no imports, also those under a condition, no docstring."""
    body = tree.body[1:] if has_docstring(tree) else tree.body
    return [node for node in body if not is_import(node) and not _only_imports(node)]


def _only_imports(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and all(map(is_import, node.body))


def list_bound_names(node: ast.stmt) -> list[str]:
    """What a statement at the top of a module defines."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    below = ast.walk(node)
    return [
        name.id for name in below if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    ]


def compare(base: Revision, head: Revision, renames: RenameMap) -> list[str]:
    """All that is more than moves between two revisions."""
    before = collect_facts(base.read_files(base.list_python_files()))
    after = collect_facts(head.read_files(head.list_python_files()))
    old = list(_Digester(before, renames).list_definitions())
    new = list(_Digester(after, RenameMap()).list_definitions())
    missing, added = _subtract(old, new), _subtract(new, old)
    places = defaultdict(list)
    for definition in added:
        places[definition.name].append(definition.position)
    findings = [
        f"{definition.position}: {definition.name} is not as it was"
        f"{': see ' + ', '.join(places[definition.name]) if definition.name in places else ', or is gone'}"
        for definition in missing
    ]
    names = {definition.name for definition in missing}
    findings += [
        f"{definition.position}: {definition.name} is new"
        for definition in added
        if definition.name not in names
    ]
    return [*findings, *_find_hidden(before, after), *_compare_other_files(base, head)]


def _subtract(some: list[Definition], others: list[Definition]) -> list[Definition]:
    left, result = Counter(others), []
    for definition in some:
        if left[definition]:
            left[definition] -= 1
        else:
            result.append(definition)
    return result


def _find_hidden(before: Facts, after: Facts) -> Iterator[str]:
    """Functions and classes that another one of the same file hides, where that is new."""
    earlier_counts = {
        (name, count) for facts in before.modules.values() for name, count in _count(facts)
    }
    for module in after.modules.values():
        for name, count in _count(module):
            if count > 1 and (name, count) not in earlier_counts:
                yield f"{module.path}: {count} things are called {name}"


def _count(module: Module) -> Iterator[tuple[str, int]]:
    statements = list_top_statements(module.tree)
    kinds = (*FUNCTIONS, ast.ClassDef)
    yield from Counter(node.name for node in statements if isinstance(node, kinds)).items()


def _compare_other_files(base: Revision, head: Revision) -> Iterator[str]:
    """Files that are no Python may move, too, but not change."""
    blobs = [
        Counter(
            revision.blobs[path]
            for path in revision.list_other_files()
            if not path.endswith(MAY_DIFFER)
        )
        for revision in (base, head)
    ]
    for revision, more in ((base, blobs[0] - blobs[1]), (head, blobs[1] - blobs[0])):
        for path in revision.list_other_files():
            if revision.blobs[path] in more and not path.endswith(MAY_DIFFER):
                yield f"{path}: {'was changed or removed' if revision is base else 'is new'}"


def main(words: list[str]) -> int:
    """Exit code 1 where there is a finding."""
    if len(words) not in (1, 2):
        raise SystemExit(__doc__)
    root = Path.cwd()
    base, head = (read_revision(root, name) for name in (*words, WORKING_TREE)[:2])
    findings = compare(base, head, read_rename_map(root / RENAMES))
    sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    sys.stdout.write(f"{len(findings)} findings\n" if findings else "only rooms\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
