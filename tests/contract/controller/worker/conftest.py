from __future__ import annotations

from collections.abc import Iterator

import pytest
from controllers.forked_workers import fork_workers


@pytest.fixture(scope="module")
def forked_workers() -> Iterator[None]:
    """Children are forks. Of an interpreter of their own are those of `test_canaries.py`."""
    with pytest.MonkeyPatch.context() as patch:
        fork_workers(patch)
        yield
