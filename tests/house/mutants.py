"""How many small changes of a part of the package the tests notice: `make mutants PART=planning`.

The changes are a sample: one seed draws the same ones, also when other lines have changed. Each is run
with the tests that run its line. What has run is kept in `.venv-mutants`, and is not run again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import itertools
import json
import os
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from house.copies import ROOT, Copy, make_copies

SECONDS_OF_TESTS = 60.0  # those of a mutant, as they ran unchanged
# Bytecode is known by the size and second of its source: each text gets a second of its own.
TIMES = itertools.count(random.randrange(10**9))
PAIRS: list[tuple[type[Any], type[Any]]] = [
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)),
    *((ast.In, ast.NotIn), (ast.And, ast.Or), (ast.Add, ast.Sub), (ast.BitOr, ast.BitAnd)),
]
OTHERS = dict(PAIRS) | {there: here for here, there in PAIRS}


class Mutant(NamedTuple):
    """A file with one change. `lines` are those of the statement, up to the end of the change."""

    draw: str
    path: str
    text: str
    lines: range
    is_in_function: bool
    name: str


def find_changes(node: ast.AST) -> Iterator[tuple[Any, str]]:
    """What could stand there instead: a part of the node, or the node, and another text for it."""
    match node:
        case ast.Compare(ops=[operator]) | ast.BoolOp(op=operator) | ast.BinOp(op=operator) if (
            type(operator) in OTHERS
        ):
            other = OTHERS[type(operator)]()
            changed: Any = copy(node)
            changed.op, changed.ops = other, [other]
            yield node, f"({ast.unparse(changed)})"
        case ast.UnaryOp(ast.Not(), operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(bool() | int() as value):
            yield node, repr(not value if isinstance(value, bool) else value + 1)
        case ast.If() | ast.While() | ast.IfExp():
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        case ast.Return(ast.expr()) if ast.unparse(node) != "return None":
            yield node, "return None"
        case ast.Expr(ast.Call()) | ast.Raise() | ast.Delete():
            yield node, "pass"
        case ast.Break() | ast.Continue():
            yield node, "continue" if isinstance(node, ast.Break) else "break"


def walk(node: ast.AST, at: ast.AST, *, inside: bool) -> Iterator[tuple[ast.AST, Any, bool]]:
    """Each node that runs, with its statement and whether it is in a function.

    Annotations do not, nor does what is for type checkers; the places in f-strings are not known.
    """
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    if for_types or isinstance(node, ast.JoinedStr):
        return
    at = node if isinstance(node, ast.stmt) else at
    yield node, at, inside
    inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    hidden = [getattr(node, name, None) for name in ("annotation", "returns")]
    for child in ast.iter_child_nodes(node):
        if child not in hidden and child not in getattr(node, "decorator_list", ()):
            yield from walk(child, at, inside=inside)


def list_mutants(root: Path, part: str, seed: str) -> Iterator[Mutant]:
    """All mutants of a part, which is a folder of the package or of its controller."""
    folders = (f"synapse_apply/{part}/", f"synapse_apply/controller/{part}/")
    for path in (root / "synapse_apply").rglob("*.py"):
        name, source = path.relative_to(root).as_posix(), path.read_bytes()
        starts = [0, 0, *itertools.accumulate(len(row) for row in source.splitlines(True))]
        same, module = Counter[str](), ast.parse(source if name.startswith(folders) else b"")
        for node, at, inside in walk(module, module, inside=False):
            for old, new in find_changes(node):
                first = starts[old.lineno] + old.col_offset
                last = starts[old.end_lineno] + old.end_col_offset
                text = (source[:first] + new.encode() + source[last:]).decode()
                change = f"`{ast.unparse(old)}` -> `{new}`"
                same[change] += 1
                draw = hashlib.sha256(f"{seed} {name} {change} {same[change]}".encode()).hexdigest()
                lines = range(at.lineno, old.end_lineno + 1)
                yield Mutant(draw, name, text, lines, inside, f"{name}:{old.lineno}: {change}")


class Suite:
    """What each test of a suite runs and how long it takes; those that fail unchanged are left out."""

    def __init__(self, copy: Copy, *words: str) -> None:
        self._tree = copy.tree
        self._data = copy.measure(*words, by_branch=False).get_data()
        texts = (copy.packages / "reports").read_text("utf-8").splitlines()
        rows = sorted((json.loads(text) for text in texts), key=itemgetter(1))
        failed = {test for test, _, outcome in rows if outcome != "passed"}
        self.seconds = {test: seconds for test, seconds, _ in rows if test not in failed}
        print(f"{len(self.seconds)} tests pass, and {len(failed)} do not.")

    def choose(self, mutant: Mutant) -> tuple[list[str], int]:
        """Tests of the lines, the fastest of each file first, and how many there would be.

        What runs when a module is imported, all tests of the module may notice.
        """
        by_line = self._data.contexts_by_lineno(str(self._tree / mutant.path))
        lines = mutant.lines if mutant.is_in_function else by_line
        found = {test for line in lines for test in by_line.get(line, ())} & self.seconds.keys()
        by_file = defaultdict(list)
        for test in sorted(found, key=self.seconds.__getitem__):
            by_file[test.partition("::")[0]].append(test)
        ranks = itertools.zip_longest(*by_file.values())
        ranked = [test for rank in ranks for test in rank if test]
        sums = itertools.accumulate(self.seconds[test] for test in ranked)
        return ranked[: 1 + sum(total <= SECONDS_OF_TESTS for total in sums)], len(found)

    def run(self, mutant: Mutant, copy: Copy) -> dict[str, Any]:
        """Whether its tests notice it: `killed`, `survived` or `not run`."""
        tests, count = self.choose(mutant)
        row = {"draw": mutant.draw, "name": mutant.name, "tests": len(tests), "of": count}
        if not tests:
            return {**row, "outcome": "not run"}
        names, path = copy.folder / "chosen", copy.tree / mutant.path
        names.write_text("\n".join(tests), "utf-8")
        words = ("-x", "-rfE", "--tb=no", "--hypothesis-seed=0", f"@{names}")
        before = path.read_text("utf-8")
        try:
            write(path, mutant.text)
            seconds = 60 + 5 * sum(self.seconds[test] for test in tests)
            code, output = copy.run_tests(*words, seconds=seconds)
        finally:
            write(path, before)
        if code == 5 or "ERROR: not found" in output:
            raise RuntimeError(output)
        failed = re.search("^(?:FAILED|ERROR) (.*)", output, re.MULTILINE)
        by = failed[1] if failed else output[-200:]
        return {**row, "outcome": "killed" if code else "survived", "by": by if code else ""}


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    os.utime(path, (seconds := next(TIMES), seconds))


def main(words: list[str] | None = None, root: Path = ROOT) -> None:
    """Run what is left of a sample as long as there is time, and print what is known of it."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("part", help="a folder of the package or of its controller")
    parser.add_argument("--commit", default="HEAD", help="whose package and tests are run")
    parser.add_argument("--count", type=int, help="60, of planning 200")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--minutes", type=float, default=40, help="after these no mutant begins")
    options, suite_words = parser.parse_known_args(words)
    copies = make_copies(root, options.commit, suite_words, os.cpu_count() or 1)
    everything = sorted(list_mutants(copies[0].tree, options.part, options.seed))
    if not everything:
        parser.error(f"The package has no part {options.part!r}.")
    mutants = everything[: options.count or (200 if options.part == "planning" else 60)]
    suite = Suite(copies[0], *suite_words)
    end = time.monotonic() + 60 * options.minutes
    file = copies[0].folder.parent / f"{options.part}.jsonl"
    file.touch()
    known = (json.loads(row) for row in file.read_text("utf-8").splitlines())
    done = {row["draw"]: row for row in known}

    def run(mutant: Mutant) -> None:
        if mutant.draw not in done and time.monotonic() < end:
            copy = copies.pop()
            row = done[mutant.draw] = suite.run(mutant, copy)
            copies.append(copy)
            with file.open("a", encoding="utf-8") as rows:
                rows.write(json.dumps(row) + "\n")
            print(f"{row['outcome']:8} {row['name']}", flush=True)

    with ThreadPoolExecutor(len(copies)) as pool:
        list(pool.map(run, mutants))
    rows = [done[mutant.draw] for mutant in mutants if mutant.draw in done]
    counts, left = Counter(row["outcome"] for row in rows), len(mutants) - len(rows)
    print(f"\n{options.part}: {len(mutants)} of {len(everything)} mutants, {left} left")
    print(*(f"{counts[name]:5} {name}" for name in ("killed", "survived", "not run")), sep="\n")
    for row in rows:
        if row["outcome"] != "killed":
            print(f"{row['name']}  ({row['outcome']}: {row['tests']} of {row['of']} tests)")


if __name__ == "__main__":
    main()
