from __future__ import annotations

from collections.abc import Iterator

import pytest
from controllers.forked_workers import start_own_program_by_fork

from synapse_apply.files import programs


@pytest.fixture(scope="module")
def forked_workers() -> Iterator[None]:
    """Children are forks. Of an interpreter of their own are those of `test_canaries.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_start_in_own_session", start_own_program_by_fork)
        yield
