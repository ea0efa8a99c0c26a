"""No total of the repository is higher than tests/house/ratchet.toml has it, and what is said of one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from git_repositories import commit
from house.ratchet import FILE, ROOT, find_wrong, write_rows

pytestmark = pytest.mark.one_process("syntax trees")
PLANNER, DIFF = "synapse_apply/planning/planner.py", "synapse_apply/planning/diff.py"
TEXTS = {
    PLANNER: '"""Plans."""\n\n\ndef plan() -> int:\n    """A plan."""\n    return 1\n',
    DIFF: "FIELDS = 1\nMORE = 2\n",
    "tests/test_planner.py": "from synapse_apply.planning import planner\n",
    str(FILE): (ROOT / FILE).read_text("utf-8"),
}
HELPER = "def _help() -> int:\n    return plan()\n\n\nHELP = _help()\nMORE = 1\n"


def test_no_total_has_risen() -> None:
    """The message says by how much, in which files, and what to do."""
    wrong = find_wrong(ROOT)
    assert not wrong, wrong


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A committed repository whose rows are right; what changes in it is new: trees are kept by path."""
    for path, text in TEXTS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    list(write_rows(tmp_path, raises=True))
    commit(tmp_path)
    return tmp_path


def test_what_rose_is_told_by_files(root: Path) -> None:
    """Also what fell elsewhere; then what to do."""
    (root / PLANNER).with_name("new.py").write_text(HELPER)
    (root / DIFF).unlink()
    told = find_wrong(root)
    assert told.startswith(
        "functions with a docstring, of 100: 50, under 64\n"
        "lines without the emulator: 12, 4 over 8\n"
        f"    -2 {DIFF}\n"
        "    +6 synapse_apply/planning/new.py\n"
        "lines of the core: 12, 4 over 8\n"
    )
    assert "used once: 1, 1 over 0\n    +1 synapse_apply/planning/new.py\n" in told
    assert "lines of tests" not in told
    assert "make ratchet RAISE=yes" in told


def test_what_fell_is_written_and_what_rose_only_when_told(root: Path) -> None:
    """A row that falls is one edit, a row that rises needs a word more."""
    (root / PLANNER).with_name("new.py").write_text(HELPER)
    (root / DIFF).unlink()
    (root / "tests/test_planner.py").write_text("")
    assert "too high" in " ".join(write_rows(root, raises=False))
    rows = tomllib.loads((root / FILE).read_text())["totals"]
    assert (rows["lines of tests"], rows["functions and lambdas"]) == (0, 1)
    assert "functions and lambdas: 1 -> 2" in list(write_rows(root, raises=True))
    assert tomllib.loads((root / FILE).read_text())["totals"]["functions and lambdas"] == 2


def test_a_merge_that_left_two_sides_can_be_written(root: Path) -> None:
    """Both sides wrote a total, and none of them is right for what they are together."""
    (root / PLANNER).with_name("new.py").write_text("FIELDS = 1\n")
    sides = '<<<<<<< ours\n"files" = 4\n=======\n"files" = 5\n>>>>>>> theirs'
    text = (root / FILE).read_text()
    assert '"files" = 2' in text
    (root / FILE).write_text(text.replace('"files" = 2', sides))
    list(write_rows(root, raises=True))
    assert tomllib.loads((root / FILE).read_text())["totals"]["files"] == 3
    assert find_wrong(root) == ""
