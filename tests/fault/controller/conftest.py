from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.applying_site import ApplyingSite
from controllers.site import Site

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
collect_ignore = [] if DEEP else ["test_applies_at_length.py"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Servers and a repository; the test starts the controller."""
    with Site(tmp_path) as made:
        yield made


@pytest.fixture
def applying_site(tmp_path: Path) -> Iterator[ApplyingSite]:
    """The same in mode auto, with a proxy that sees who writes to the backend, and when."""
    with ApplyingSite(tmp_path) as made:
        yield made
