"""Words and rooms, as ratchets: each number is today's, and may only go down.

What counts: functions named by a bare participle (`told`: it says neither what is done nor what
comes back), locals and parameters that say nothing of what they hold, files in one folder, class
names that stand in two modules, and functions whose verb promises another result than they give.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from house.parsing import list_nodes

pytestmark = pytest.mark.one_process("syntax trees")
PACKAGE = Path(__file__).resolve().parents[1] / "synapse_apply"
# What is counted, and how many there are. Lower a number when there are fewer.
MOST = {
    "participles": 0,
    "vague names": 17,
    "files in a folder": 20,
    "shared class names": 0,
    "broken promises": 0,
}

# Participles that do not end in -ed.
IRREGULAR = """
    begun bound broken built done drawn found given gone got grown heard held hidden kept known
    laid left lost made meant met moved said seen sent shown sought spoken stuck taken thought told
    written
"""
# They end in -ed and are none.
NO_PARTICIPLES = """
    bed embed embedded exceed feed hundred indeed need proceed red seed shed speed
"""
VAGUE = """
    along asked at beside found given gone held here inside kept known left made mine near needed one
    ours place quiet said seen settled shown taken theirs there told wanted way ways whole
"""
_IRREGULAR, _NO_PARTICIPLES, _VAGUE = (
    frozenset(words.split()) for words in (IRREGULAR, NO_PARTICIPLES, VAGUE)
)
# Functions that may be called so, and why.
ALLOWED_FUNCTIONS = {
    "applied": "the side of a record that was sent",
    "desired": "the declared side of a resource",
    "locked": "the state of a lock, of a file or of a release",
    "nested": "a tree in place of flat fields",
    "observed": "the live side of a resource",
    "parsed": "JSON in place of its text",
    "seen": "the side of a record that the server answered",
}
# Folders of equals (a verb, a kind, a check a file), which may be fuller, and why.
FOLDERS_OF_EQUALS: dict[str, str] = {"operations": "a verb a module"}
# Functions whose verb says less than what they give back, and why.
ALLOWED_VERBS = {
    "OpenTarget.find_resource": "public; raises where there is none",
    "OpenTarget.find_run": "public; raises where there is none",
    "TargetLive.find_object": "public; raises where there is none",
    "TargetPackages.find_package": "public; raises where there is none",
    "TargetState.find_record": "public; raises where there is none",
}
# Classes that may stand in two modules, and why.
ALLOWED_CLASSES: dict[str, str] = {}


def breaks_promise_of_verb(name: str, returned: str) -> bool:
    """Whether a function gives back what its verb says it does not; CONTRIBUTING.md has the verbs.

    `returned` is its annotation. What is left open is left to the reader: only what can be told
    from the two is looked at.
    """
    verb, may_be_none = name.strip("_").partition("_")[0], returned.endswith(" | None")
    is_collection = re.match(r"\w*(list|tuple|set|dict|Mapping|Sequence|Itera\w+)\[", returned)
    says_so = re.search(r"_or_|_if_", name)
    if verb == "find":
        return not (may_be_none or is_collection or says_so)
    if verb in {"read", "load", "require"}:
        return may_be_none and not says_so
    if verb in {"is", "has", "can"}:
        return returned not in {"bool", "bool | None"} and not returned.startswith("TypeGuard[")
    if verb in {"iter", "iterate"}:
        return not re.match(r"(Async)?Itera\w+\[|_\w+$", returned)
    return returned == "bool | None" and not says_so


def list_broken_promises(nodes: Iterable[ast.AST]) -> list[str]:
    """The functions of a module that give back something else than their verbs promise."""
    functions = (
        (f"{owner.name}.{node.name}" if isinstance(owner, ast.ClassDef) else node.name, node)
        for owner in nodes
        for node in ast.iter_child_nodes(owner)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None
    )
    return [
        name
        for name, node in functions
        if name not in ALLOWED_VERBS
        and breaks_promise_of_verb(node.name, unparse_annotation(node.returns or node))
    ]


def unparse_annotation(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)


@cache
def count_all() -> dict[str, Counter[str]]:
    """Each measure as a count by what is counted, in one walk of the sources."""
    participles, vague = Counter[str](), Counter[str]()
    folders, modules = Counter[str](), defaultdict[str, set[Path]](set)
    promises = Counter[str]()
    for path in PACKAGE.rglob("*.py"):
        folders[str(path.parent.relative_to(PACKAGE))] += path.name != "__init__.py"
        nodes = list_nodes(path)
        promises.update(list_broken_promises(nodes))
        for node in nodes:
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store) and node.id.strip("_") in _VAGUE:
                    vague[node.id] += 1
            elif isinstance(node, ast.arg):
                vague[node.arg] += node.arg.strip("_") in _VAGUE
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                participles[node.name] += is_bare_participle(node.name)
            elif isinstance(node, ast.ClassDef):
                modules[node.name].add(path)
    return {
        "participles": participles,
        "broken promises": promises,
        "vague names": vague,
        "files in a folder": Counter(
            {name: size for name, size in folders.items() if name not in FOLDERS_OF_EQUALS}
        ),
        "shared class names": Counter(
            {
                name: 1
                for name, paths in modules.items()
                if len(paths) > 1 and name not in ALLOWED_CLASSES
            }
        ),
    }


@cache
def is_bare_participle(name: str) -> bool:
    """Whether a function's name is one word, and that is a participle."""
    word = name.strip("_")
    if name.startswith("__") or "_" in word or re.search("[a-z][A-Z]", word):
        return False
    if word in ALLOWED_FUNCTIONS or word in _NO_PARTICIPLES:
        return False
    return word in _IRREGULAR or (len(word) > 3 and word.endswith("ed"))


@pytest.mark.parametrize("measure", MOST)
def test_numbers_only_go_down(measure: str) -> None:
    """More than before is a step back; less is to be written down, so that it stays."""
    counts = count_all()[measure]
    number = max(counts.values()) if measure == "files in a folder" else counts.total()
    most = ", ".join(f"{name} {count}" for name, count in counts.most_common(12) if count)
    assert number <= MOST[measure], f"{number} {measure}, {MOST[measure]} before: {most}"
    assert number == MOST[measure], f"only {number} {measure} now: lower the number in MOST"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, True) for name in ("told", "_kept", "found", "resolved", "completed", "made")],
        *[(name, False) for name in ("find_record", "is_found", "need", "red", "speed", "locked")],
        *[(name, False) for name in ("__enter__", "resolve", "told_of", "isFound", "_seed")],
    ],
)
def test_what_a_bare_participle_is(name: str, expected: bool) -> None:
    """One word that ends in -ed or is an irregular one; with another word it may tell."""
    assert is_bare_participle(name) == expected


@pytest.mark.parametrize(
    ("name", "returned", "expected"),
    [
        ("find_record", "Record | None", False),
        ("find_records", "list[Record]", False),
        ("find_record", "Record", True),
        ("_find_code_or_empty", "str", False),
        ("read_state", "State | None", True),
        ("read_state_or_none", "State | None", False),
        ("_require_target", "Target", False),
        ("is_open", "str", True),
        ("has_key", "bool", False),
        ("iter_rows", "list[Row]", True),
        ("iter_rows", "Iterator[Row]", False),
        ("matches_key", "bool | None", True),
        ("build_row", "Row | None", False),
    ],
)
def test_what_a_verb_promises(name: str, returned: str, expected: bool) -> None:
    """What a reader takes for granted from the name alone."""
    assert breaks_promise_of_verb(name, returned) == expected
