"""The state's file is deleted, or another one takes its place, in the middle of an apply."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fault.commands import applying, ended, reaches
from fault.convergence import Row, chosen, command, on_api, some
from fault.site import LATER, MakeSite, Server, Site, pending, tally

POSTS = {"v1": 6, "v2": 4}


def deleted(state: Path, _backup: Path) -> None:
    state.unlink()


def put_back(state: Path, backup: Path) -> None:
    shutil.copy(backup, f"{state}.copy")
    Path(f"{state}.copy").replace(state)


def overwritten(state: Path, backup: Path) -> None:
    state.write_bytes(backup.read_bytes())


def spoilt(state: Path, _backup: Path) -> None:
    state.write_bytes(b"no state at all" * 1000)


WAYS = {
    "deleted": (deleted, "There is no state"),
    "put-back": (put_back, "The lock on the state was lost"),
    "overwritten": (overwritten, "The lock on the state was lost"),
    "spoilt": (spoilt, "This is not a state of synapse-apply"),
}


@on_api("v1")
@pytest.mark.parametrize("way", chosen(WAYS, "overwritten"))
def test_a_state_that_is_not_the_same_any_more(
    way: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """The report tells what was done; with a backup and that, nothing is made twice."""
    happens, words = WAYS[way]
    for nth in some(POSTS[api], 1, turn=3, most=6 if api == "v1" else 2):
        site = make_site(groups=2)
        backup, state = site.root / "backup", site.root / ".synapse-apply" / "state" / "site.db"
        command(site, f"state backup -t site {backup}")
        under_way = {"hang": 0.3, "commit": "after"}
        server.faults({"match": {"method": "POST", "nth": nth}, "do": under_way})
        with applying(site) as process:
            reaches(server, process)
            happens(state, backup)
            code, out, err = ended(process)
        report = json.loads(out)
        told = {one["address"]: one["id"] for one in report["outcomes"] if one["id"]}
        assert code == 7, out + err
        assert words in out
        assert told == {name: one for name, (one,) in server.ids().items()}
        command(site, f"state restore --auto-approve -t site {backup}")
        (kept,) = {one["unrecorded_in"] for one in report["outcomes"]} - {None}
        command(site, f"state record -t site {kept}")
        row.add(*comes_together(site, told))
        row.duplicates += tally(server, site.expected)["duplicates"]
        row.losses += tally(server, site.expected)["losses"]
        assert not any(tally(server, site.expected).values())
        assert pending(site.plan()) == []
        assert {name: [one] for name, one in site.records().items()} == server.ids()


def comes_together(site: Site, told: dict[str, str]) -> tuple[int, int]:
    """Adopt what can be seen, import what the report told of the rest; runs, and what was told."""
    unseen = {name: one for name, one in told.items() if name.startswith("plugin/")}
    left = {name: one for name, one in unseen.items() if name not in site.records()}
    for address, remote_id in left.items():
        command(site, f"import -t site {address} {remote_id}")
    second = site.apply(adopt=True, ahead=LATER)
    assert second.code == 0, pending(second.plan)
    return 2, len(left)
