from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Servers and a repository; the test starts the controller."""
    with Site(tmp_path) as made:
        yield made
