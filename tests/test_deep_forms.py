"""The shares of the deep tests, each of which collects all of them: `make test-deep SHARE=1`."""

from __future__ import annotations

from itertools import chain

from deep import SHARES, is_in_share, read_named


def test_each_case_is_in_one_share() -> None:
    """So all shares together are all of them."""
    cases = [f"{function}[{case}]" for function, named in read_named().items() for case in named]
    shares = [[case for case in cases if is_in_share(case, n)] for n in range(1, SHARES + 1)]
    assert sorted(chain.from_iterable(shares)) == sorted(cases)
