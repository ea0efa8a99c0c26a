"""What tests of several folders need."""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets.servers import AzuriteServer, BucketServer, MotoServer, SeaweedServer
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from postgres.server import PostgresServer

pytest_plugins = ["deep", "order"]

# Until all tests are collected: nothing of them is garbage, and to look takes a sixth of that time.
gc.disable()

# To rewrite the assertions of all tests takes 8 seconds. What was done once
# is kept (`__pycache__`), also where the environment asks for no bytecode to be written.
sys.dont_write_bytecode = False

# On a busy machine any law is slow now and then.
settings.register_profile(
    "tests",
    max_examples=100 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1" else 16,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")
if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") != "1":
    # It would read the constants of 1,600 files, which it tries in one of twenty draws: three seconds a process.
    vars(providers)["_get_local_constants"] = lambda: providers._local_constants

# A shell starts what it puts in the background with SIGINT ignored, and commands inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A cache of nobody's: what is remembered of the states of tests is no business of a user's.
# Set before any test module is imported: some take the environment then.
CACHE = tempfile.mkdtemp(prefix="synapse-apply-tests-")
os.environ["XDG_CACHE_HOME"] = CACHE


# What looks at the package from outside: by commands, files, HTTP, the library and stored formats. It stays
# as it is while the package is cut (CONTRIBUTING.md). `pytest -m blackbox` runs it, without `browser/`.
BLACKBOX = (
    *("attack/", "browser/", "e2e/", "fault/", "frozen/", "laws/"),
    *("contract/stores/", "contract/v2/", "contract/vendor/"),
    "unit/session/test_library",  # what `open_target` promises
    *("unit/manifests/test_invalid_corpus.py", "unit/planning/test_cases.py"),  # tests/cases
    # tests/golden
    *("unit/views/test_checkup_views.py", "unit/views/test_drift_views.py"),
    *("unit/views/test_github.py", "unit/views/test_gitlab.py", "unit/views/test_golden_"),
    *("unit/views/test_graph.py", "unit/views/test_json_documents.py"),
    *("unit/views/test_markdown.py", "unit/views/test_record_views.py"),
)
BLACKBOX_PATHS = tuple(f"{Path(__file__).parent}/{start}" for start in BLACKBOX)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` chooses among them."""
    for item in items:
        if str(item.path).startswith(BLACKBOX_PATHS):
            item.add_marker("blackbox")


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_collection_finish() -> None:
    """Leave thirteen thousand collected tests out of every garbage collection from here on."""
    gc.freeze()
    # Tests live for milliseconds: to look for garbage at each 2,000 objects takes a twentieth of all.
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


_NUMBERS = itertools.count()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, which looks through the folders of all tests for a number that none has."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}{next(_NUMBERS)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_worker() -> Iterator[None]:
    """States whose lineage an example pins would else be taken for old copies of one another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", tempfile.mkdtemp(dir=CACHE))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, one a test process; made when the first test needs it."""
    made = PostgresServer()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def seaweed() -> Iterator[BucketServer]:
    """A SeaweedFS, one a test process, as the database is."""
    yield from run_bucket_server(SeaweedServer())


@pytest.fixture(scope="session")
def moto() -> Iterator[BucketServer]:
    """A moto, likewise."""
    yield from run_bucket_server(MotoServer())


@pytest.fixture(scope="session")
def azurite() -> Iterator[BucketServer]:
    """An Azurite, where `make azure` has installed it."""
    yield from run_bucket_server(AzuriteServer())


def run_bucket_server(made: BucketServer) -> Iterator[BucketServer]:
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def openbao() -> Iterator[Any]:
    """A Vault (OpenBao), one a test process; made when the first test needs it."""
    # Here, not above: the tests with the lowest versions have no such binary.
    from vault.openbao import OpenBao

    made = OpenBao()
    made.start()
    yield made
    made.remove()
