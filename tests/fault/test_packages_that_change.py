"""A zip that is sent as it lies there, and changed meanwhile: the planned bytes, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault.commands import Backend, applying, ended
from fault.site import APIS, Server, Site
from forges.loopback_server import wait_until
from unit.packages.trees import change_unseen

MIB = 1024 * 1024
SIZE = 12 * MIB  # more than the buffers of a connection hold, and worth being remembered
RELEASE = "release/plugin-0@1.1.0"
UPLOADS = {
    "v1": {"method": "POST", "path": "/plugin_releases/"},
    "v2": {"method": "POST", "path": "/v2/plugin-releases/"},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(data: Path) -> Iterator[Server]:
    made = Backend(data)
    yield made.start()
    made.kill()


@pytest.fixture(params=APIS)
def site(tmp_path: Path, server: Server, request: pytest.FixtureRequest) -> Site:
    """A plugin that is applied, and a second release whose package is a large zip."""
    api = str(request.param)
    made = Site.make(tmp_path / "project", server, groups=1, api=api)
    assert made.apply().code == 0
    release = {"plugin": "plugin-0", "version": "1.1.0", "file": "big.zip"}
    document = {"apiVersion": "synapse-apply/v1", "kind": "Release", "spec": release}
    (made.root / "manifests" / "newer.json.yaml").write_text(json.dumps(document))
    _pack(made.root / "big.zip")
    time.sleep(2.1)  # what is younger is copied before it is sent
    server.faults({"match": UPLOADS[api], "do": {"narrow": 8 * MIB}})
    return made


def _pack(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.yaml", 'name: plugin-0\ncode: plugin-0\nversion: "1.1.0"\n')
        archive.writestr("weights.bin", os.urandom(SIZE))


def arriving(data: Path) -> bool:
    """Whether a part of the package lies on the server's disk."""
    return any(one.stat().st_size > MIB for one in (data / "incoming").iterdir())


def changed_on_the_way(site: Site, data: Path, change: Callable[[Path], None]) -> tuple[int, str]:
    """An apply during whose upload the file is changed: its exit code and report."""
    with applying(site) as process:
        while not arriving(data):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        change(site.root / "big.zip")
        code, out, err = ended(process)
    return code, out + err


def _shorter(path: Path) -> None:
    os.truncate(path, SIZE - MIB)


@pytest.mark.parametrize("change", [change_unseen, _shorter])
def test_nothing_is_published(
    site: Site, server: Server, data: Path, change: Callable[[Path], None]
) -> None:
    """Exit 3, the release failed and says why, no intent is open; the next plan starts afresh."""
    before = {path.name for path in (data / "packages").iterdir()}
    code, said = changed_on_the_way(site, data, change)
    assert code == 3, said
    assert "Package changed while it was read" in said
    assert RELEASE not in server.ids()
    assert RELEASE not in site.records()
    assert site.open_intents() == []
    # A server that reads slowly hears late that its client is gone.
    wait_until(lambda: not any((data / "incoming").iterdir()), 60, "no upload is kept")
    assert {path.name for path in (data / "packages").iterdir()} == before


def test_one_that_takes_its_place_is_never_published(
    site: Site, server: Server, data: Path
) -> None:
    """The file that was opened is the planned one, and its bytes are what arrives."""
    planned = hashlib.sha256((site.root / "big.zip").read_bytes()).hexdigest()

    def replace(path: Path) -> None:
        other = path.with_name("other.zip")
        _pack(other)
        other.replace(path)

    code, said = changed_on_the_way(site, data, replace)
    assert code == 0, said
    other = hashlib.sha256((site.root / "big.zip").read_bytes()).hexdigest()
    packages = {path.name for path in (data / "packages").iterdir()}
    assert (planned in packages, other in packages) == (True, False)
    assert RELEASE in server.ids()


def test_sent_again_after_a_reset(site: Site, server: Server, data: Path) -> None:
    """From its first byte, hashed anew."""
    server.faults({"match": {**UPLOADS[site.api], "to": 1}, "do": {"cut": 3 * MIB}})
    with applying(site) as process:
        code, out, err = ended(process)
    assert code == 0, out + err
    whole = hashlib.sha256((site.root / "big.zip").read_bytes()).hexdigest()
    assert whole in {path.name for path in (data / "packages").iterdir()}
    assert server.counts() == [{"seen": 2, "done": 1}]
