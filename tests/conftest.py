"""What tests of several folders need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres.server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, one a test process; made when the first test needs it."""
    made = PostgresServer()
    try:
        made.start()
        yield made
    finally:
        made.remove()
