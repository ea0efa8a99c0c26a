"""No total of the repository is higher than tests/house/ratchet.toml has it, and what is said of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from git_repositories import commit
from house.ratchet import FILE, ROOT, find_wrong, read_rows, write_rows

pytestmark = pytest.mark.one_process("syntax trees")
PLANNER = "synapse_apply/planning/planner.py"
TEXTS = {
    PLANNER: '"""Plans."""\n\n\ndef plan() -> int:\n    """A plan."""\n    return 1\n',
    "synapse_apply/planning/diff.py": "FIELDS = 1\nMORE = 2\n",
    "tests/test_planner.py": "from synapse_apply.planning import planner\n",
    str(FILE): (ROOT / FILE).read_text("utf-8"),
}
HELPER = '\n\ndef _help() -> int:\n    """Help."""\n    return plan()\n\n\nHELP = _help()\n'


def test_no_total_has_risen() -> None:
    """The message says by how much, in which files, and what to do."""
    wrong = find_wrong(ROOT)
    assert not wrong, wrong


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A committed repository whose rows are right. Another state is a copy: trees are kept by path."""
    root = tmp_path / "base"
    for path, text in TEXTS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    list(write_rows(root, raises=True))
    commit(root)
    return root


def copy_with(base: Path, **texts: str) -> Path:
    """A copy with other texts of `planner`, `diff`, ..."""
    root = Path(shutil.copytree(base, base.with_name("changed")))
    for name, text in texts.items():
        (root / PLANNER).with_name(f"{name}.py").write_text(text)
    return root


def test_what_rose_is_told_by_files(base: Path) -> None:
    """Also what fell elsewhere, and what is new; then what to do."""
    root = copy_with(base, planner=TEXTS[PLANNER] + HELPER, diff="FIELDS = 1\n", new="import os\n")
    told = find_wrong(root)
    assert told.startswith(
        "lines without the emulator: 16, 8 over 8\n"
        "    -1 synapse_apply/planning/diff.py\n"
        "    +1 synapse_apply/planning/new.py\n"
        "    +8 synapse_apply/planning/planner.py\n"
        "lines of the core: 16, 8 over 8\n"
    )
    assert (
        "private helpers of 8 lines or less, used once: 1, 1 over 0\n"
        "    +1 synapse_apply/planning/planner.py\n"
    ) in told
    assert "of tests" not in told
    assert "make ratchet RAISE=yes" in told


def test_functions_need_docstrings_still(base: Path) -> None:
    """A share that may not fall, where all totals may."""
    root = copy_with(base, planner=TEXTS[PLANNER].replace('    """A plan."""\n', ""))
    assert find_wrong(root).startswith("functions with a docstring, of 100: 0, under 64\n")


def test_what_fell_is_written_and_what_rose_only_when_told(base: Path) -> None:
    """A row that falls is one edit, a row that rises needs a word more."""
    root = copy_with(base, planner=TEXTS[PLANNER] + "\n\ndef more() -> None: ...\n", diff="")
    assert "too high" in " ".join(write_rows(root, raises=False))
    rows = read_rows(root)["totals"]
    assert (rows["files"], rows["functions and lambdas"]) == (1, 1)
    assert "functions and lambdas: 1 -> 2" in list(write_rows(root, raises=True))
    assert read_rows(root)["totals"]["functions and lambdas"] == 2


def test_a_merge_that_left_two_sides_can_be_written(base: Path) -> None:
    """Both sides wrote a total, and none of them is right for what they are together."""
    root = copy_with(base, new="FIELDS = 1\n")
    sides = '<<<<<<< ours\n"files" = 4\n=======\n"files" = 5\n>>>>>>> theirs'
    text = (root / FILE).read_text()
    assert '"files" = 2' in text
    (root / FILE).write_text(text.replace('"files" = 2', sides))
    list(write_rows(root, raises=True))
    assert read_rows(root)["totals"]["files"] == 3
    assert find_wrong(root) == ""
