"""A bare repository, a clone of it, and logs over both that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.stores.git.repositories import make_fresh_checkout, make_log, make_remote

from synapse_apply.stores.git.git_log import GitLog


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return make_remote(tmp_path)


@pytest.fixture
def checkout(tmp_path: Path, remote: Path) -> Path:
    assert remote.parent == tmp_path
    return make_fresh_checkout(tmp_path)


@pytest.fixture
def open_log() -> Iterator[Callable[..., GitLog]]:
    """Opens a log as `make_log` does."""
    logs: list[GitLog] = []

    def open_one(*arguments: Any, **options: Any) -> GitLog:
        logs.append(make_log(*arguments, **options))
        return logs[-1]

    yield open_one
    for log in logs:
        log.close()
