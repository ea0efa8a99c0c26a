"""Rows of a table that one test asks: none is passed over, and each that fails is told."""

from __future__ import annotations

import pytest
from rows import ask_all, read_table

ODD, EVEN = {(1, 4), (3, 2), (3, 4)}, [(2, "two"), (4, "four")]
TRIED: list[tuple[int, int, str]] = []


@pytest.mark.parametrize("odd", [1, 3], ids=["one", "three"])
@pytest.mark.parametrize(("even", "name"), EVEN)
def ask(odd: int, even: int, name: str) -> None:
    TRIED.append((odd, even, name))
    assert (odd, even) not in ODD


def test_every_row_is_tried_and_each_that_fails_is_told() -> None:
    """Of two tables all rows are combined."""
    TRIED.clear()
    with pytest.raises(ExceptionGroup) as caught:
        ask_all(ask, read_table(ask))()
    assert sorted(TRIED) == sorted((odd, *even) for odd in (1, 3) for even in EVEN)
    said = [note for error in caught.value.exceptions for note in error.__notes__]
    assert len(said) == len(ODD)
    assert "The row is {'even': 4, 'name': 'four', 'odd': 1}." in said


@pytest.mark.parametrize(
    "more",
    [
        pytest.mark.parametrize("tmp_path", [1], indirect=True),
        pytest.mark.parametrize("other", [pytest.param(1)]),
        pytest.mark.skipif(True, reason="whatever another mark is for"),
    ],
)
def test_what_is_more_than_a_table_is_left_to_pytest(more: pytest.MarkDecorator) -> None:
    @more
    @pytest.mark.parametrize("row", range(9))
    def asked(row: int, tmp_path: int = 0, other: int = 0) -> None: ...

    @pytest.mark.parametrize("row", range(9))
    def given(row: int, tmp_path: int = 0) -> None: ...

    assert read_table(asked) == read_table(given) == []
