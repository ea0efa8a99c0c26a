from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.fleet_site import FleetSite
from postgres.server import PostgresServer

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
collect_ignore = [] if DEEP else ["test_fleets_at_length.py", "test_two_versions.py"]


@pytest.fixture
def fleet_site(tmp_path: Path, postgres: PostgresServer) -> Iterator[FleetSite]:
    """Servers, a database and a repository with four targets; the test starts the processes."""
    with FleetSite(tmp_path, server=postgres) as made:
        yield made
