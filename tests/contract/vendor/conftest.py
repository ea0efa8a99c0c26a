"""A stand-in of the vendor's backend for each test, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from contract.vendor.guesses import Guesses
from contract.vendor.standin import StandIn, run_stand_in
from contract.vendor.world import TENANT, TOKEN

from synapse_apply import BackendClient


@pytest.fixture
def serve() -> Iterator[Callable[..., StandIn]]:
    """Starts a backend; the arguments are guesses that differ from the likeliest."""
    with ExitStack() as stack:
        yield lambda **guesses: stack.enter_context(run_stand_in(Guesses(**guesses)))


@pytest.fixture
def backend(serve: Callable[..., StandIn]) -> StandIn:
    return serve()


@pytest.fixture
def connect() -> Iterator[Callable[..., BackendClient]]:
    """Makes a client of a backend that waits for nothing."""
    with ExitStack() as stack:

        def open_client(backend: StandIn, token: str = TOKEN, **more: Any) -> BackendClient:
            more = {"tenant": TENANT, "sleep": lambda _: None, **more}
            return stack.enter_context(BackendClient(backend.url, token, **more))

        yield open_client


@pytest.fixture
def client(backend: StandIn, connect: Callable[..., BackendClient]) -> BackendClient:
    return connect(backend)
