"""Reading an inventory: the work grows with the rows, and no faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from counting import calls_of

from synapse_apply.manifests.yaml.reader import LazyPositions, read_single_mapping
from synapse_apply.model.errors import InputError
from synapse_apply.workspace.inventory_rows import parse_inventory, read_inventory


def inventory(folder: Path, rows: int, *, last: str = "") -> Path:
    path = folder / f"inventory-{rows}.yaml"
    lines = [f"- address: plugin/p-{n}\n  id: '{n}'\n  api: v1\n" for n in range(rows)]
    path.write_text("inventory:\n" + "".join(lines) + last)
    return path


@pytest.mark.parametrize("form", ["rows of a file", "rows that are all wrong"])
def test_the_work_grows_with_the_rows(tmp_path, form):
    """1,800 rows took 20 s: the whole file was walked for each of them."""

    def read(rows: int) -> None:
        if form == "rows of a file":
            assert len(read_inventory(inventory(tmp_path, rows))) == rows
            return
        text = "inventory:\n" + "".join(f"- address: p-{n}\n" for n in range(rows))
        mapping, positions = read_single_mapping(text.encode(), "i.yaml")
        with pytest.raises(InputError) as problem:
            parse_inventory(mapping["inventory"], "i.yaml", positions)
        assert len(problem.value.diagnostics) == rows

    read(2)  # what is imported and cached at first use
    few, many = calls_of(lambda: read(100)), calls_of(lambda: read(400))
    assert many < 5 * few


def test_positions_are_true_without_a_walk():
    """`positions or {}` must not count the places of a file: a document always has one."""

    class Root(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("the places were walked")

    assert LazyPositions("a.yaml", (0, Root()))


def test_a_wrong_row_has_its_place(tmp_path):
    """Line and column of the row, as before."""
    file = inventory(tmp_path, 3, last="- address: plugin/p-0\n  id: '7'\n")
    with pytest.raises(InputError) as problem:
        read_inventory(file)
    (finding,) = problem.value.diagnostics
    assert finding.position is not None
    assert (finding.position.line, finding.position.column) == (11, 3)
