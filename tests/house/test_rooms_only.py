"""The proof of rooms only finds whatever changes while things move."""

from __future__ import annotations

from pathlib import Path

import pytest

from house.renames import parse_rename_map
from house.repositories import commit_files
from house.rooms_only import compare, main

FAULTS = '''"""Faults."""

from __future__ import annotations

import json

LIMIT = 3


def missing(where: str) -> str:
    """Words."""
    return json.dumps(where[:LIMIT])
'''
STORE = """from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.stores import faults

if TYPE_CHECKING:
    from pathlib import Path


class Store:
    def read(self, path: Path) -> str:
        from os import getcwd

        return faults.missing(getcwd() + str(path))


PATH = "synapse_apply.stores.faults.build_missing_state_error"
"""
BASE = {
    "synapse_apply/__init__.py": "",
    "synapse_apply/stores/faults.py": FAULTS,
    "synapse_apply/stores/store.py": STORE,
    "synapse_apply/stores/page.css": "a {}\n",
}
ROWS = "synapse_apply.stores.faults\tsynapse_apply.state.messages\n"
# Everything in another folder, one module under another name, imports rearranged.
HEAD = {
    "synapse_apply/__init__.py": "",
    "synapse_apply/state/messages.py": FAULTS.replace("Faults.", "Messages."),
    "synapse_apply/state/store.py": STORE.replace("stores import faults", "state import messages")
    .replace("faults.missing(getcwd() + str", "messages.missing(getcwd() + str")
    .replace("stores.faults", "state.messages")
    .replace("        from os import getcwd\n\n", "")
    .replace("from typing", "from os import getcwd\nfrom typing"),
    "synapse_apply/state/page.css": "a {}\n",
}
MERGED = {
    "synapse_apply/__init__.py": "",
    "synapse_apply/state/messages.py": FAULTS.replace("import json\n", "import json\nfrom os import getcwd\nfrom pathlib import Path\n")
    + STORE.partition("Path\n")[2].replace("faults.missing", "missing", 1)
    .replace("        from os import getcwd\n\n", "")
    .replace("stores.faults", "state.messages"),
    "synapse_apply/page.css": "a {}\n",
}  # fmt: skip


def findings(root: Path, head: dict[str, str], rows: str = ROWS) -> list[str]:
    """What the proof says of the base and another commit."""
    first, second = (commit_files(root, files) for files in (BASE, head))
    lines = {f"map:{number}": row for number, row in enumerate(rows.splitlines(), 1)}
    return compare(first, second, parse_rename_map(lines))


@pytest.mark.parametrize("head", [BASE, HEAD, MERGED], ids=["same", "moved", "merged"])
def test_moves_are_only_rooms(tmp_path: Path, head: dict[str, str]) -> None:
    """To other folders, under another name, two into one; imports and docstrings as they come."""
    assert findings(tmp_path, head, "" if head is BASE else ROWS) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("messages", "where[:LIMIT]", "where[:4]", "missing is not as it was: see synapse_apply/"),
        ("messages", "LIMIT = 3", "LIMIT = 4", "LIMIT is not as it was"),
        ("messages", "import json", "import yaml as json", "missing is not as it was"),
        ("messages", "LIMIT = 3\n", "LIMIT = 3\nMORE = 4\n", "MORE is new"),
        ("store", "messages.missing(", "messages.LIMIT(", "Store is not as it was"),
        ("store", "from os import getcwd", "from os import getpid as getcwd", "Store is not as"),
        ("store", "PATH =", "WAY =", "PATH is not as it was, or is gone"),
        ("store", '"synapse_apply.state.m', '"synapse_apply.m', "PATH is not as it was"),
        ("store", "\n\nPATH", "\n    def read(self): ...\n\nPATH", "Store is not as it was"),
        ("store", "\n\nPATH", "\nclass Store: ...\n\nPATH", "2 things are called Store"),
        ("page", "a {}", "b {}", "page.css: was changed or removed"),
    ],
)
def test_what_changes_more_is_found(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    """Logic, constants, what a name stands for, what is new or gone, other files."""
    path = next(path for path in HEAD if f"/{file}." in path)
    assert old in HEAD[path]
    problems = findings(tmp_path, {**HEAD, path: HEAD[path].replace(old, new, 1)})
    assert any(message in problem for problem in problems), problems


def test_a_helper_of_the_same_name_from_another_file_is_found(tmp_path: Path) -> None:
    """A moved function that now calls another module's helper, though its own text is equal."""
    problem = "def _text(a):\n    return a + 1\n\n\ndef f(a):\n    return _text(a)\n"
    other = "def _text(a):\n    return a + 2\n\n\ndef g(a):\n    return _text(a)\n"
    base = commit_files(tmp_path, {"synapse_apply/a.py": problem, "synapse_apply/b.py": other})
    moved = problem.partition("\n\n\n")[2]
    head = commit_files(
        tmp_path,
        {
            "synapse_apply/a.py": problem.partition("\n\n\n")[0],
            "synapse_apply/b.py": f"{other}\n\n{moved}",
        },
    )
    (problems,) = compare(base, head, parse_rename_map({}))
    assert problems.startswith("synapse_apply/a.py:5: f is not as it was: see synapse_apply/b.py:")


def test_the_command_compares_with_the_working_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 where things only moved, else 1."""
    commit_files(tmp_path, BASE)
    monkeypatch.chdir(tmp_path)
    assert main(["HEAD"]) == 0
    assert capsys.readouterr().out == "only rooms\n"
    (tmp_path / "synapse_apply" / "stores" / "faults.py").unlink()
    assert main(["HEAD", "."]) == 1
    assert "missing is not as it was, or is gone" in capsys.readouterr().out
