"""Proof that a commit changes nothing but words: `python -m house.words_only BASE [HEAD]`.

The syntax trees of each file are equal once identifiers are blanked out; docstrings, comments and
the order of imports left aside. Each name is bound where it was, one new name for one old one, and
the rename map (renames.py) explains every pair. HEAD is `.` by default, the working tree.

What an attribute belongs to is known for modules, `self`, and classes that are named. Of any other
it is enough that the map renames some member so, unless a class has both names: then nobody can
tell, and it is a finding.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from house.facts import ClassFacts, Facts, Module, collect_facts
from house.renames import RenameMap, read_rename_map
from house.revisions import WORKING_TREE, Revision, read_revision
from house.scopes import BUILTIN, Binding
from house.shapes import DifferentShapeError, Pair, pair_trees

RENAMES = "tests/house/renames"
# What may change beside Python: pages, and what names paths and modules of the code.
MAY_DIFFER = (".md", ".tsv", "pyproject.toml", ".git-blame-ignore-revs")


class WordsProof:
    """Compares the modules of two revisions; `find_all` gives what is more than words."""

    def __init__(self, base: Facts, head: Facts, renames: RenameMap) -> None:
        self._base = base
        self._head = head
        self._renames = renames
        self._find_mixed_class = lru_cache(maxsize=None)(self._search_mixed_class)
        self._find_mixed_function = lru_cache(maxsize=None)(self._search_mixed_function)

    def find_all(self, paths: list[str]) -> Iterator[str]:
        """A finding a line, as FILE:LINE: WHAT."""
        for path in paths:
            before, after = self._base.modules[path], self._head.modules[path]
            yield from _FileProof(self, before, after).find_all()
            yield from self._find_chains(before)
        yield from self._find_clashes()

    @property
    def base(self) -> Facts:
        return self._base

    @property
    def renames(self) -> RenameMap:
        return self._renames

    def why_not_member(self, owner: str | None, old: str, new: str) -> str:
        """Why an attribute must not be called so; "" where the map explains it."""
        if owner is not None and ":" not in owner:
            entity = self._base.imported_entity(owner, old)
            expected = self._renames.new_name_of(entity or f"{owner}:{old}")
            return "" if expected == new else "no row renames it so"
        if owner in self._base.classes:
            ancestors = self._base.ancestors_of(owner)
            rows = {self._renames.new_name_of(f"{ancestor}.{old}") for ancestor in ancestors} - {
                None
            }
            if rows:
                return "" if new in rows else f"the map calls it {', '.join(map(str, rows))}"
        if (old, new) not in self._renames.members:
            return "no row renames it so"
        mixed = self._find_mixed_class(old, new)
        return f"{mixed} has both: nobody can tell which is meant" if mixed else ""

    def why_not_keyword(self, called: str | None, old: str, new: str) -> str:
        """The same of a keyword argument, or a field by which a value is made."""
        owners = [called, f"{called}.__init__"] if called in self._base.classes else [called]
        if owners[0] in self._base.classes:
            ancestors = self._base.ancestors_of(str(called))
            fields = {self._renames.new_name_of(f"{ancestor}.{old}") for ancestor in ancestors}
            if new in fields:
                return ""
        if any(self._renames.new_name_of(f"{owner}/{old}") == new for owner in owners):
            return ""
        if called in self._base.parameters and old in self._base.parameters[str(called)]:
            return "no row renames this parameter so"
        if (old, new) not in self._renames.parameters | self._renames.members:
            return "no row renames it so"
        mixed = self._find_mixed_function(old, new) or self._find_mixed_class(old, new)
        return f"{mixed} has both: nobody can tell which is meant" if mixed else ""

    def _search_mixed_class(self, old: str, new: str) -> str:
        """A class that keeps a member of the old name and has one of the new name."""
        for where in self._base.classes:
            if old not in self._base.members_of(where):
                continue
            rows = {
                self._renames.new_name_of(f"{ancestor}.{old}")
                for ancestor in self._base.ancestors_of(where)
            }
            now = self.head_name_of(where)
            keeps_it = new not in rows and now in self._head.classes
            if keeps_it and new in self._head.members_of(now):
                return where
        return ""

    def _search_mixed_function(self, old: str, new: str) -> str:
        for where, parameters in self._base.parameters.items():
            if old not in parameters or self._renames.new_name_of(f"{where}/{old}") == new:
                continue
            if new in self._head.parameters.get(self.head_name_of(where), ()):
                return where
        return ""

    def head_name_of(self, where: str) -> str:
        """What a class or a function of the base is called in the head."""
        module, _, qualified = where.partition(":")
        parts = qualified.split(".")
        renamed = [
            self._renames.new_name_of(f"{module}:{'.'.join(parts[: end + 1])}") or part
            for end, part in enumerate(parts)
        ]
        now = f"{module}:{'.'.join(renamed)}"
        is_defined = now in self._head.classes or now in self._head.parameters
        return now if is_defined else where

    def _find_chains(self, module: Module) -> Iterator[str]:
        """Names and parameters that get the name which another one gives up.

        A use that did not change may then mean another thing: `module.name`, a keyword.
        """
        spaces = {f"{module.name}:": module.names.scopes[0].bound} | {
            f"{where}/": parameters
            for where, parameters in self._base.parameters.items()
            if where.startswith(f"{module.name}:")
        }
        for prefix, names in spaces.items():
            for old in sorted(names):
                new = self._renames.new_name_of(f"{prefix}{old}")
                if new in names and self._renames.new_name_of(f"{prefix}{new}") is not None:
                    yield f"{prefix}{old}: there was another {new} before: take two commits"

    def _find_clashes(self) -> Iterator[str]:
        """Members that got the name of another, or whose override was left behind."""
        for where, facts in self._base.classes.items():
            now = self._head.classes.get(self.head_name_of(where), ClassFacts())
            renamed = {
                old: new
                for old in sorted(facts.members)
                if (new := self._renames.new_name_of(f"{where}.{old}")) in now.members
                and old not in now.members
            }
            for other in sorted(self._base.family_of(where)) if renamed else ():
                had = self._base.classes[other].members
                has = self._head.classes.get(self.head_name_of(other), ClassFacts()).members
                for old, new in renamed.items():
                    if new in had:
                        yield f"{where}.{old}: {other} had a member {new} already"
                    if old in had & has:
                        yield f"{where}.{old}: {other} still calls it {old}"


class _FileProof:
    """The pairs of one file, and which binding became which."""

    def __init__(self, proof: WordsProof, before: Module, after: Module) -> None:
        self._proof = proof
        self._before = before
        self._after = after
        self._forward: dict[Binding, Binding] = {}
        self._backward: dict[Binding, Binding] = {}

    def find_all(self) -> Iterator[str]:
        try:
            for pair in pair_trees(self._before.tree, self._after.tree):
                yield from (f"{self._after.path}:{pair.line}: {why}" for why in self._find_in(pair))
        except DifferentShapeError as problem:
            yield f"{self._after.path}:{problem.line}: not only words: {problem}"

    def _find_in(self, pair: Pair) -> Iterator[str]:
        if pair.kind == "import":
            yield from self._find_in_imports(pair)
        elif pair.kind == "name":
            yield from self._find_in_name(pair)
        elif pair.old != pair.new:
            change = f"{pair.old!r} -> {pair.new!r}"
            if why := self._why_not(pair):
                yield f"{pair.kind} {change}: {why}"

    def _why_not(self, pair: Pair) -> str:
        base, module = self._proof.base, self._before
        renames = self._proof.renames
        if renames.explains_text(module.name, pair.old, pair.new):
            return ""
        if pair.kind == "text":
            return "a text changed, and no row of the map has it"
        owner = base.entity_of(module, pair.owner) if pair.owner is not None else None
        if pair.kind == "keyword":
            return self._proof.why_not_keyword(owner, pair.old, pair.new)
        if isinstance(pair.owner, ast.Name) and pair.owner.id == "__all__":
            entity = str(base.imported_entity(module.name, pair.old))
            return "" if renames.new_name_of(entity) == pair.new else f"no row for {entity}"
        return self._proof.why_not_member(owner, pair.old, pair.new)

    def _find_in_name(self, pair: Pair) -> Iterator[str]:
        before = self._before.names.binding_of(pair.before, pair.key)
        after = self._after.names.binding_of(pair.after, pair.key)
        if before is None or after is None:
            raise DifferentShapeError(pair.line, f"{pair.old} and {pair.new} are bound nowhere")
        change = f"{pair.old} -> {pair.new}" if pair.old != pair.new else pair.old
        if before[0] != after[0]:
            yield f"{change}: it is bound elsewhere now"
            return
        first, others = self._forward.setdefault(before, after), self._backward
        imported, imports = (
            module.names.origin_of(binding)
            for module, binding in ((self._before, before), (self._after, after))
        )
        if first != after:
            yield f"{change}: the same thing is called {first[1]} elsewhere"
        elif others.setdefault(after, before) != before:
            yield f"{change}: {pair.new} stands for {others[after][1]}, too"
        elif (imported and self._rename_import(imported)) != imports:
            yield f"{change}: it is imported from elsewhere now"
        elif pair.old != pair.new and before[0] == BUILTIN:
            yield f"{change}: a builtin, or a name that nothing binds"
        elif pair.old != pair.new and not self._is_explained(before, pair.new):
            where = self._before.names.where_of(self._before.name, before)[0]
            yield f"{change}: no row of the map for {where}"

    def _is_explained(self, binding: Binding, new: str) -> bool:
        renames, names = self._proof.renames, self._before.names
        rows = [renames.new_name_of(where) for where in names.where_of(self._before.name, binding)]
        origin = names.origin_of(binding)
        if origin is not None and origin[1]:
            entity = self._proof.base.imported_entity(*origin)
            rows.append(renames.new_name_of(entity) if entity else None)
        return new in rows

    def _find_in_imports(self, pair: Pair) -> Iterator[str]:
        before = dict(_imported_names(pair.imports[0]))
        after = dict(_imported_names(pair.imports[1]))
        renamed = {self._rename_import(key): bound for key, bound in before.items()}
        for key in sorted(renamed.keys() ^ after.keys()):
            state = "is imported no more" if key in renamed else "is imported now"
            yield f"{'.'.join(part for part in key if part)} {state}"

    def _rename_import(self, key: tuple[str, str]) -> tuple[str, str]:
        source, name = key
        entity = self._proof.base.imported_entity(source, name) if name else None
        return source, (self._proof.renames.new_name_of(entity) if entity else None) or name


def _imported_names(statements: list[object]) -> Iterator[tuple[tuple[str, str], str]]:
    for node in statements:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield (str(node.module), alias.name), alias.asname or alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.name, ""), alias.asname or alias.name


def compare(base: Revision, head: Revision, renames: RenameMap) -> list[str]:
    """All that is more than words between two revisions."""
    old_paths, new_paths = base.list_python_files(), head.list_python_files()
    findings = [
        f"{path}: {'removed' if path in old_paths else 'added'}"
        for path in sorted(set(old_paths) ^ set(new_paths))
    ]
    findings += [
        f"{path}: changed, and it is no Python"
        for path in sorted({*base.list_other_files(), *head.list_other_files()})
        if base.blobs.get(path) != head.blobs.get(path) and not path.endswith(MAY_DIFFER)
    ]
    both = [path for path in old_paths if path in head.blobs]
    changed = [path for path in both if base.blobs[path] != head.blobs[path]]
    before = collect_facts(base.read_files(old_paths))
    after = collect_facts(head.read_files(new_paths))
    return findings + list(WordsProof(before, after, renames).find_all(changed))


def main(words: list[str]) -> int:
    """Exit code 1 where there is a finding."""
    if len(words) not in (1, 2):
        raise SystemExit(__doc__)
    root = Path.cwd()
    base, head = (read_revision(root, name) for name in (*words, WORKING_TREE)[:2])
    findings = compare(base, head, read_rename_map(root / RENAMES))
    sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    sys.stdout.write(f"{len(findings)} findings\n" if findings else "only words\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
