"""A state that went back has forgotten objects: nothing is planned from it, and nothing made twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attack.two_targets import Backends, Checkout, backends, checkout
from fault.site import Server

OLDER = "Error: This state is older than the last one seen here"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    with backends(tmp_path_factory.mktemp("backends")) as running:
        yield running


@pytest.fixture(scope="module")
def applied(servers: Backends, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Everything is on staging; `before.db` is the state of before that."""
    folder = tmp_path_factory.mktemp("applied")
    made = checkout(folder / "p", servers.urls, "yolo").copied(folder / "q")
    shutil.copy(made.file("staging"), made.root / "before.db")
    made.run("apply -t staging --auto-approve")
    return made


@pytest.fixture
def site(applied: Checkout, tmp_path: Path) -> Checkout:
    """A copy that a test may spoil, with all that is remembered."""
    made = applied.copied(tmp_path / "project")
    shutil.copytree(applied.environ["XDG_CACHE_HOME"], made.environ["XDG_CACHE_HOME"])
    return made


def beside(site: Checkout) -> Path:
    return site.root / ".synapse-apply" / "seen"


def in_cache(site: Checkout) -> Path:
    return Path(site.environ["XDG_CACHE_HOME"]) / "synapse-apply" / "seen"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".json"]


def go_back(site: Checkout) -> None:
    shutil.copy(site.root / "before.db", site.file("staging"))


def copied_back(site: Checkout) -> None:
    go_back(site)


def without_what_is_beside_it(site: Checkout) -> None:
    """A fresh clone, or somebody who knows the file: the user's cache still knows."""
    shutil.rmtree(beside(site))
    go_back(site)


def without_the_cache(site: Checkout) -> None:
    shutil.rmtree(in_cache(site))
    go_back(site)


def with_a_memory_that_went_back(site: Checkout) -> None:
    """What is beside the project comes with the state, as from a backup of the folder."""
    for file in files(beside(site)):
        told = json.loads(file.read_text())
        file.write_text(json.dumps({**told, "serial": 0, "fence": 0}))
    go_back(site)


def with_a_memory_that_is_a_link(site: Checkout) -> None:
    """A link to a file that tells of an early state is not followed."""
    for file in files(beside(site)):
        told = json.loads(file.read_text())
        (site.root / "early.json").write_text(json.dumps({**told, "serial": 0, "fence": 0}))
        file.unlink()
        file.symlink_to(site.root / "early.json")
    go_back(site)


def with_a_memory_of_nonsense(site: Checkout) -> None:
    for file in files(beside(site)):
        file.write_text("[" * 4000)
    go_back(site)


def with_the_serial_of_now(site: Checkout) -> None:
    """Somebody counted the serial up; how often the lock was taken still tells."""
    (told,) = [json.loads(file.read_text()) for file in files(in_cache(site))
               if json.loads(file.read_text())["serial"] > 0]  # fmt: skip
    go_back(site)
    site.sql("staging", "UPDATE meta SET serial = ?", told["serial"])


@pytest.mark.parametrize(
    "attack",
    [copied_back, without_what_is_beside_it, without_the_cache, with_a_memory_that_went_back,
     with_a_memory_that_is_a_link, with_a_memory_of_nonsense, with_the_serial_of_now],
)  # fmt: skip
def test_an_older_state_makes_nothing_twice(
    site: Checkout, servers: Backends, attack: Callable[[Checkout], None]
) -> None:
    """Whatever plans or applies ends with exit 1 before its first call; what only looks, goes on."""
    attack(site)
    backend = Server(servers.urls["staging"])
    before = backend.ids()
    for typed in ("plan -t staging", "apply -t staging --auto-approve",
                  "import plugin/yolo 1 -t staging"):  # fmt: skip
        said = site.run(typed, 1)
        assert OLDER in said
        assert "`synapse-apply state restore FILE -t staging`" in said
    assert OLDER.removeprefix("Error: ") in site.run("doctor -t staging", 1)
    site.run("state show -t staging")
    assert backend.ids() == before


def test_a_backup_that_is_restored_is_taken(site: Checkout, servers: Backends) -> None:
    """On purpose, with the question of always; also in another checkout that saw the newer one."""
    shutil.copytree(site.root, other := site.root.with_name("other"))
    theirs = Checkout(other, {**site.environ, "XDG_CACHE_HOME": str(other) + "-cache"})
    go_back(site)
    assert OLDER in site.run("plan -t staging", 1)
    assert "Approval is required, but there is no terminal" in site.run(
        "state restore before.db -t staging", 1
    )
    site.run("state restore before.db -t staging --auto-approve")
    assert OLDER not in site.run("plan -t staging")
    shutil.copy(site.file("staging"), theirs.file("staging"))
    assert OLDER not in theirs.run("plan -t staging")


def test_the_state_itself_is_accepted_by_restoring_it(site: Checkout) -> None:
    """As the message says: what came back from a dump is put in its own place on purpose."""
    go_back(site)
    site.run("state backup now.db -t staging")
    site.run("state restore now.db -t staging --auto-approve")
    assert OLDER not in site.run("plan -t staging")


@pytest.mark.parametrize("store", ["file", "postgresql"])
def test_a_state_that_moves_to_another_store_is_not_older(
    site: Checkout, servers: Backends, request: pytest.FixtureRequest, store: str
) -> None:
    """Its lock is counted on from there."""
    url = f"{site.root}/moved.db"
    if store == "postgresql":
        url = request.getfixturevalue("postgres").url(schema=site.root.parent.name)
    site.run(f"state backup -t staging --to {url}")
    site.write_project(servers.urls, staging={"state": {"url": url}})
    site.run("plan -t staging")
    site.run("state rm plugin/yolo -t staging")
    site.run("plan -t staging")
    site.run(f"state backup {site.root}/after.db -t staging")


def test_an_empty_state_that_is_made_on_purpose_is_not_older(
    site: Checkout, servers: Backends
) -> None:
    """The pin is repeated, which is the word that it takes."""
    with site.state("staging") as context:
        lineage = context.store.read_lineage()
    site.write_project(servers.urls, staging={"state": {"lineage": lineage}})
    site.file("staging").unlink()
    site.run(f"state init -t staging --lineage {lineage}")
    assert OLDER not in site.run("plan -t staging")


def test_an_older_state_of_the_embedded_backend(site: Checkout) -> None:
    """Beside the project alone; starting over forgets what was seen."""
    site.run("plan -t embedded")
    site.run("apply -t embedded --auto-approve")
    early = shutil.copy(site.file("embedded"), site.root / "embedded.db")
    site.run("state rm plugin/yolo -t embedded")
    shutil.copy(early, site.file("embedded"))
    assert OLDER in site.run("plan -t embedded", 1)
    site.run("emulator --reset --auto-approve")
    site.run("apply -t embedded --auto-approve")


@pytest.mark.parametrize("home", ["read-only", "none", "a file"])
def test_without_a_cache_it_goes_on(site: Checkout, tmp_path: Path, home: str) -> None:
    """What is remembered beside the project is enough, and its absence stops nobody."""
    cache = tmp_path / "nowhere"
    if home == "read-only":
        cache = Path("/proc/nowhere")
    elif home == "a file":
        cache.write_text("")
    environ = {"XDG_CACHE_HOME": "" if home == "none" else str(cache)}
    site.run("plan -t staging", **environ)
    site.run("state rm release/yolo@1.0.0 -t staging", **environ)
    go_back(site)
    assert OLDER in site.run("plan -t staging", 1, **environ)


def test_what_is_remembered_is_private_and_tells_little(site: Checkout) -> None:
    for folder in (beside(site), in_cache(site)):
        for file in files(folder):
            assert file.stat().st_mode & 0o777 == 0o600
            told = json.loads(file.read_text())
            assert set(told) == {"format", "lineage", "serial", "fence", "at"}
        assert all(path.suffix == ".json" for path in folder.iterdir())
    assert (site.root / ".synapse-apply" / ".gitignore").read_text() == "*\n"
