"""What tests of several folders need."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from postgres.server import PostgresServer

# A shell starts what it puts in the background with SIGINT ignored, and commands inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, one a test process; made when the first test needs it."""
    made = PostgresServer()
    try:
        made.start()
        yield made
    finally:
        made.remove()
