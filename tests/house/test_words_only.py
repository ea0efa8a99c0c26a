"""The proof of words only finds whatever a rename changes beside names."""

from __future__ import annotations

from pathlib import Path

import pytest

from house.renames import parse_rename_map
from house.repositories import commit_files
from house.words_only import compare, main

STORE = '''"""Records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Survey:
    """What is kept."""

    made: int
    size: int = 0

    def told(self, given: int) -> int:
        kept = self.made + given
        return kept - self.size


def found(at: list[int]) -> list[int]:
    # The odd ones.
    return [one for one in at if one % 2]
'''
USER = """from __future__ import annotations

from synapse_apply import store
from synapse_apply.store import Survey, found


def judged(survey: Survey) -> int:
    total = sum(found(at=[survey.made, survey.size]))
    return survey.told(given=total) + store.found([total])[0] + Survey(made=1).size


PATH = "synapse_apply.store.found"
"""
RENAMES = """synapse_apply.store:Survey\tPlanIndex
synapse_apply.store:Survey.made\tcreated_count
synapse_apply.store:Survey.told\tcount_rest
synapse_apply.store:Survey.told/given\tnumber
synapse_apply.store:Survey.told/kept\ttotal
synapse_apply.store:found\tselect_odd
synapse_apply.store:found/at\tnumbers
synapse_apply.store:found/one\tnumber
synapse_apply.user:judged\tcount_all
synapse_apply.user:judged/survey\tindex
"""
NEW_STORE = '''"""Other words."""

from dataclasses import dataclass
from __future__ import annotations


@dataclass
class PlanIndex:
    """An index."""

    created_count: int
    size: int = 0

    def count_rest(self, number: int) -> int:
        """What is left."""
        total = self.created_count + number
        return total - self.size


def select_odd(numbers: list[int]) -> list[int]:
    return [
        number for number in numbers if number % 2
    ]
'''.replace(
    "from dataclasses import dataclass\nfrom __future__ import annotations",
    "from __future__ import annotations\n\nfrom dataclasses import dataclass",
)
NEW_USER = """from __future__ import annotations

from synapse_apply import store
from synapse_apply.store import select_odd, PlanIndex


def count_all(index: PlanIndex) -> int:
    total = sum(select_odd(numbers=[index.created_count, index.size]))
    return (
        index.count_rest(number=total)
        + store.select_odd([total])[0]
        + PlanIndex(created_count=1).size
    )


PATH = "synapse_apply.store.select_odd"
"""


def findings(
    root: Path, base: dict[str, str], head: dict[str, str], rows: str = RENAMES
) -> list[str]:
    """What the proof says of two commits of a package."""
    first, second = (
        commit_files(root, {"synapse_apply/__init__.py": "", **files}) for files in (base, head)
    )
    lines = {f"map:{number}": row for number, row in enumerate(rows.splitlines(), 1)}
    return compare(first, second, parse_rename_map(lines))


BASE = {"synapse_apply/store.py": STORE, "synapse_apply/user.py": USER}
HEAD = {"synapse_apply/store.py": NEW_STORE, "synapse_apply/user.py": NEW_USER}


def test_a_rename_of_everything_is_only_words(tmp_path: Path) -> None:
    """Classes, fields, methods, parameters, locals, keywords, imports, dotted texts, docstrings."""
    assert findings(tmp_path, BASE, HEAD) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("store", "total - self.size", "total + self.size", "Sub is Add now"),
        ("store", "total - self.size", "number - self.size", "-> number: the same thing"),
        ("store", "size: int = 0", "size: int = 1", "0 is 1 now"),
        ("store", "self.created_count + number", "self.size + number", "calls it created_count"),
        ("store", "return total - self.size", "return total - self.created_count", "'size'"),
        ("store", "number % 2", "not number % 2", "is UnaryOp now"),
        ("store", "    return [\n", "    numbers = numbers\n    return [\n", "body before"),
        ("store", "@dataclass\n", "@dataclass()\n", "Call now"),
        ("user", "sum(select_odd", "len(select_odd", "a builtin"),
        ("user", '"synapse_apply.store.select_odd"', '"synapse_apply.stores"', "a text changed"),
        ("user", "index.count_rest(number=total)", "index.count_rest(total=total)", "keyword"),
        ("user", "import store", "import store as other", "it is bound elsewhere"),
        ("user", "import select_odd, PlanIndex", "import select_odd", "imported no more"),
        ("user", "+ store.select_odd(", "+ store.PlanIndex(", "no row renames it so"),
        ("user", "index.size]", "index.created_count]", "no row renames it so"),
        ("user", "PATH =", "OTHER_PATH =", "no row of the map for synapse_apply.user:PATH"),
    ],
)  # fmt: skip
def test_what_changes_more_is_found(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    """Logic, values, texts, another thing's name, imports, names without a row."""
    path = f"synapse_apply/{file}.py"
    assert HEAD[path].count(old) == 1
    head = {**HEAD, path: HEAD[path].replace(old, new)}
    problems = findings(tmp_path, BASE, head)
    assert any(message in problem and problem.startswith(path) for problem in problems), problems


def change(tmp_path: Path, before: str, after: str, rows: str) -> list[str]:
    """What is said of one module that changes."""
    return findings(tmp_path, {"synapse_apply/m.py": before}, {"synapse_apply/m.py": after}, rows)


def test_two_names_that_change_places_are_found(tmp_path: Path) -> None:
    """Though each pair has a row: `a - b` is not `b - a`."""
    rows = "synapse_apply.m:f/a\tb\nsynapse_apply.m:f/b\ta\n"
    problems = change(
        tmp_path, "def f(a, b):\n    return a - b\n", "def f(a, b):\n    return b - a\n", rows
    )
    assert "the same thing is called a elsewhere" in problems[0]


def test_a_local_that_takes_over_another_is_found(tmp_path: Path) -> None:
    """Two locals become one, also where an inner function's hides an outer one."""
    rows = "synapse_apply.m:f/a\tb\nsynapse_apply.m:f.g/c\tb\n"
    problems = change(
        tmp_path,
        "def f(a, b):\n    return a * b\n",
        "def f(b, c):\n    return b * b\n",
        rows,
    )
    assert any("-> " in problem or "stands for" in problem for problem in problems)
    problems = change(
        tmp_path,
        "def f(b):\n    def g(c):\n        return b + c\n    return g\n",
        "def f(b):\n    def g(b):\n        return b + b\n    return g\n",
        rows,
    )
    assert any("b: it is bound elsewhere now" in problem for problem in problems), problems


def test_a_name_that_hides_a_builtin_or_a_module_name_is_found(tmp_path: Path) -> None:
    """A local called like a global that the function uses: the use is another thing's."""
    problems = change(
        tmp_path,
        "def size(x):\n    return x\n\n\ndef f(x):\n    made = size(x)\n    return made\n",
        "def size(x):\n    return x\n\n\ndef f(x):\n    size = size(x)\n    return size\n",
        "synapse_apply.m:f/made\tsize\n",
    )
    assert any("it is bound elsewhere now" in problem for problem in problems), problems


def test_a_field_may_have_the_name_of_its_default(tmp_path: Path) -> None:
    """In a class body a name is what is around it until the body binds it."""
    before = "def make(): ...\n\n\nclass A:\n    make: object = make\n    other: object = make\n"
    after = before.replace("def make", "def build").replace("= make\n    o", "= build\n    o")
    assert change(tmp_path, before, after, "synapse_apply.m:make\tbuild\n") == []
    wrong = after.replace("other: object = make", "other: object = build")
    assert change(tmp_path, before, wrong, "synapse_apply.m:make\tbuild\n")


def test_imports_that_change_places_are_found(tmp_path: Path) -> None:
    """The same names, bound to each other's origin."""
    problems = change(
        tmp_path,
        "from os import getcwd, getpid\n\nX = getcwd(), getpid\n",
        "from os import getcwd as getpid, getpid as getcwd\n\nX = getcwd(), getpid\n",
        "",
    )
    assert any("imported from elsewhere" in problem for problem in problems), problems


TWO = """class A:
    def __init__(self):
        self.seen = 1
        self.live = 2


class B:
    def __init__(self):
        self.seen = 1


def f(value):
    return value.seen
"""
ROWS_OF_TWO = "synapse_apply.m:B.seen\tlive\n"


def test_an_attribute_that_may_be_another_class_s_is_found(tmp_path: Path) -> None:
    """`value.seen` became `value.live`, and a class that kept its name has both."""
    renamed = TWO.replace(
        "        self.seen = 1\n\n\ndef", "        self.live = 1\n\n\ndef"
    ).replace("value.seen", "value.live")
    problems = change(tmp_path, TWO, renamed, ROWS_OF_TWO)
    (message,) = problems
    assert message.startswith("synapse_apply/m.py:13: attribute 'seen' -> 'live': ")
    assert "synapse_apply.m:A has both: nobody can tell which is meant" in message
    alone = [text.replace("        self.live = 2\n", "") for text in (TWO, renamed)]
    assert change(tmp_path, *alone, ROWS_OF_TWO) == []


def test_a_member_that_takes_the_place_of_another_is_found(tmp_path: Path) -> None:
    """In the class itself, an ancestor or a descendant; and an override that was left behind."""
    before = "class A:\n    def told(self): ...\n\n\nclass B(A):\n    def told(self): ...\n    def text(self): ...\n"
    after = before.replace("told", "text", 1)
    problems = change(tmp_path, before, after, "synapse_apply.m:A.told\ttext\n")
    assert "synapse_apply.m:A.told: synapse_apply.m:B had a member text already" in problems
    assert "synapse_apply.m:A.told: synapse_apply.m:B still calls it told" in problems


def test_a_name_may_be_reached_through_a_module_that_imports_it(tmp_path: Path) -> None:
    """The row is that of the module which defines it."""
    base = {
        "synapse_apply/a.py": "def told(): ...\n",
        "synapse_apply/b.py": "from synapse_apply.a import told\n",
        "synapse_apply/c.py": "from synapse_apply import b\n\nX = b.told()\n",
    }
    head = {path: text.replace("told", "build_text") for path, text in base.items()}
    assert findings(tmp_path, base, head, "synapse_apply.a:told\tbuild_text\n") == []


def test_a_name_that_another_one_gives_up_is_found(tmp_path: Path) -> None:
    """A use elsewhere that did not change would mean the other one."""
    before = "def told(): ...\n\n\ndef text(a, b): ...\n"
    after = "def text(): ...\n\n\ndef words(b, c): ...\n"
    rows = (
        "synapse_apply.m:told\ttext\nsynapse_apply.m:text\twords\n"
        "synapse_apply.m:text/a\tb\nsynapse_apply.m:text/b\tc\n"
    )
    assert change(tmp_path, before, after, rows) == [
        "synapse_apply.m:told: there was another text before: take two commits",
        "synapse_apply.m:text/a: there was another b before: take two commits",
    ]


def test_names_as_texts_go_with_what_they_name(tmp_path: Path) -> None:
    """getattr on a known thing, __slots__, __all__, and what has a row of its own."""
    before = (
        "from synapse_apply import other\n\n__all__ = ['told']\n\n\n"
        "class A:\n    __slots__ = ('kept',)\n\n\ndef told():\n    return getattr(other, 'told')\n\n\n"
        "KEYS = {'told': 1}\n"
    )
    after = (
        before.replace("['told']", "['build_text']")
        .replace("('kept',)", "('rows',)")
        .replace("def told", "def build_text")
        .replace("other, 'told'", "other, 'find_text'")
    )
    rows = (
        "synapse_apply.m:told\tbuild_text\nsynapse_apply.m:A.kept\trows\n"
        "synapse_apply.other:told\tfind_text\n"
    )
    other = {"synapse_apply/other.py": "def told(): ...\n"}
    new_other = {"synapse_apply/other.py": "def find_text(): ...\n"}
    path = "synapse_apply/m.py"
    assert findings(tmp_path, {path: before, **other}, {path: after, **new_other}, rows) == []
    keys = after.replace("{'told'", "{'build_text'")
    problems = findings(tmp_path, {path: before, **other}, {path: keys, **new_other}, rows)
    assert problems == [
        f"{path}:14: text 'told' -> 'build_text': a text changed, and no row of the map has it"
    ]
    rows += "synapse_apply.m\ttold\tbuild_text\n"
    assert findings(tmp_path, {path: before, **other}, {path: keys, **new_other}, rows) == []


def test_rows_hold_after_their_class_was_renamed(tmp_path: Path) -> None:
    """Folder by folder: a member of a class that an earlier commit renamed."""
    before = "class PlanIndex:\n    def told(self, given): ...\n"
    after = "class PlanIndex:\n    def count(self, number): ...\n"
    rows = (
        "synapse_apply.m:Survey\tPlanIndex\nsynapse_apply.m:Survey.told\tcount\n"
        "synapse_apply.m:Survey.told/given\tnumber\n"
    )
    assert change(tmp_path, before, after, rows) == []


def test_files_that_are_no_python_stay(tmp_path: Path) -> None:
    """Goldens and schemas are not words; pages are."""
    base = {"tests/golden/a.txt": "told\n", "docs/a.md": "told\n", "synapse_apply/m.py": ""}
    head = {"tests/golden/a.txt": "said\n", "docs/a.md": "said\n", "synapse_apply/n.py": ""}
    assert findings(tmp_path, base, head) == [
        "synapse_apply/m.py: removed",
        "synapse_apply/n.py: added",
        "tests/golden/a.txt: changed, and it is no Python",
    ]


def test_the_command_compares_with_the_working_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 and a word where nothing but words changed, else 1 and each finding."""
    files = {"synapse_apply/__init__.py": "", **BASE, "tests/house/renames/a.tsv": RENAMES}
    commit_files(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    for path, text in HEAD.items():
        (tmp_path / path).write_text(text)
    assert main(["HEAD"]) == 0
    assert capsys.readouterr().out == "only words\n"
    (tmp_path / "synapse_apply" / "user.py").write_text(NEW_USER.replace("[0]", "[1]"))
    assert main(["HEAD", "."]) == 1
    assert capsys.readouterr().out == (
        "synapse_apply/user.py:11: not only words: 0 is 1 now\n1 findings\n"
    )
