"""An upload that breaks off in its middle: no half release anywhere, and the next apply ends it."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fault.commands import FOREVER, Backend, applying, ended, kill, reaches
from fault.convergence import Row, converge, on_api
from fault.site import LATER, Server, Site
from forges.loopback_server import wait_until

MIB = 1024 * 1024
SIZE = 12 * MIB  # more than the buffers of a connection hold
RELEASE = "release/plugin-0@1.0.0"
# On v2 a plugin's create uploads its first release.
PATHS = {"v1": "/plugin_releases/", "v2": "/v2/plugins/"}
OPEN = {"v1": [RELEASE], "v2": ["plugin/plugin-0", RELEASE]}


@pytest.fixture
def server(backend: Backend) -> Server:
    return backend.start()


@pytest.fixture
def site(api: str, tmp_path: Path, server: Server) -> Site:
    """One plugin whose release is a large zip, and a storage."""
    made = Site.make(tmp_path / "project", server, groups=1, api=api)
    pack(made, SIZE)
    manifest = made.root / "manifests" / "group-0.yaml"
    text = manifest.read_text().replace('"source": "./plugins/plugin-0"', '"file": "big.zip"')
    manifest.write_text(text)
    return made


def pack(site: Site, size: int) -> None:
    with zipfile.ZipFile(site.root / "big.zip", "w") as archive:
        archive.writestr("config.yaml", 'name: plugin-0\ncode: plugin-0\nversion: "1.0.0"\n')
        archive.writestr("weights.bin", os.urandom(size))


def uploads(site: Site) -> dict[str, Any]:
    return {"method": "POST", "path": PATHS[site.api]}


def nothing_half_done(site: Site, data: Path, *, released: bool = False) -> None:
    """Neither the server nor the state has a release, or a part of one, that is not whole."""
    assert (RELEASE in site.server.ids()) is released
    assert (RELEASE in site.records()) is released
    assert list((data / "incoming").iterdir()) == []
    content = (site.root / "big.zip").read_bytes()
    whole = {hashlib.sha256(content).hexdigest()} if released else set()
    assert {path.name for path in (data / "packages").iterdir()} == whole


@on_api("v1")
def test_a_reset_in_the_middle_is_made_good_at_once(
    site: Site, server: Server, tmp_path: Path, row: Row
) -> None:
    """What did not arrive whole is sent again by the same run: one release, all of its bytes."""
    server.faults({"match": {**uploads(site), "to": 2}, "do": {"cut": 3 * MIB}})
    with applying(site) as process:
        code, out, err = ended(process)
    assert code == 0, out + err
    nothing_half_done(site, tmp_path / "data", released=True)
    assert server.counts() == [{"seen": 3, "done": 2}]
    converge(site, None, row)


@on_api("v1")
def test_resets_without_end(site: Site, server: Server, tmp_path: Path, row: Row) -> None:
    """Exit 3, nothing unknown: the intent is closed, and the next apply just uploads."""
    server.faults({"match": uploads(site), "do": {"cut": 3 * MIB}})
    with applying(site) as process:
        code, out, err = ended(process)
    assert code == 3, out + err
    outcomes = {one["address"]: one for one in json.loads(out)["outcomes"]}
    assert outcomes[OPEN[site.api][0]]["result"] == "failed"
    assert "Only a part of the upload was sent" in out
    assert site.open_intents() == []
    nothing_half_done(site, tmp_path / "data")
    converge(site, None, row)
    assert row.unknowns == 0
    nothing_half_done(site, tmp_path / "data", released=True)


@on_api("v1", "v2")
def test_killed_in_the_middle(site: Site, server: Server, tmp_path: Path, row: Row) -> None:
    """SIGKILL while bytes go out: the intent is open, an early run waits, a later one uploads."""
    server.faults({"match": uploads(site), "do": {"cut": 3 * MIB, "wait": FOREVER}})
    with applying(site) as process:
        reaches(server, process)
        assert kill(process)
    assert sorted(str(address) for address in site.open_intents()) == OPEN[site.api]
    server.faults()
    early = site.apply()
    assert early.code == 7
    assert RELEASE not in server.ids()
    assert RELEASE not in site.records()
    assert site.apply(ahead=LATER).code == 0
    nothing_half_done(site, tmp_path / "data", released=True)
    converge(site, None, row)


@on_api("v1")
def test_killed_while_the_server_writes(
    site: Site, server: Server, tmp_path: Path, row: Row
) -> None:
    """The part that lies on the server's disk goes with its client."""
    pack(site, 4 * SIZE)
    incoming = tmp_path / "data" / "incoming"
    with applying(site) as process:
        while not any(incoming.iterdir()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        assert kill(process)
    wait_until(lambda: not any(incoming.iterdir()), 60, "no upload is kept")
    nothing_half_done(site, tmp_path / "data")
    assert sorted(str(address) for address in site.open_intents()) == OPEN[site.api]
    converge(site, None, row)
