"""The command that waits for an earlier call does what was asked, and no more."""

from __future__ import annotations

import re

import pytest
from fault.convergence import command, on_vendor
from fault.site import MakeSite, Server, Site
from fault.test_lost_updates import PLUGIN, begun, declare, killed, live

WAIT = re.compile(r"`synapse-apply (apply --wait[^`]*)` waits for the call")
ONLY = f"--only {PLUGIN}"
OTHER = "--exclude storage/*"


@pytest.fixture
def waiting(make_site: MakeSite, server: Server) -> Site:
    """An update of a plugin may still act; another one is declared, and so is another storage."""
    site = begun(make_site)
    killed(site, server, "before")
    declare(site, "eleven")
    path = site.root / "manifests" / "group-0.yaml"
    path.write_text(path.read_text().replace("storage-0", "storage-9"))
    return site


@on_vendor()
@pytest.mark.parametrize(
    ("verb", "typed"),
    [
        ("plan", ONLY),
        ("plan", f"{OTHER} --prune --revert-drift"),
        ("apply --auto-approve", f"{OTHER} --prune --revert-drift --allow-replace"),
    ],
)
def test_the_way_out_has_what_was_typed(
    waiting: Site, server: Server, verb: str, typed: str
) -> None:
    """Whoever follows it gets what was asked: what was left out is left out again."""
    before = len(server.objects("storage"))
    code = 0 if verb == "plan" else 7
    said = " ".join(command(waiting, f"{verb} {typed} -t site", code).split())
    (way,) = set(WAIT.findall(said))
    words = way.replace("'", "").split()
    assert sorted(words) == sorted(f"apply --wait {typed} -t site".split())
    command(waiting, f"{way.replace(chr(39), '')} --auto-approve")
    assert live(server) == "eleven"
    assert len(server.objects("storage")) == before


@on_vendor()
def test_drift_names_what_was_selected(waiting: Site) -> None:
    """What it cannot tell yet is told by waiting for the same part."""
    said = " ".join(command(waiting, f"drift {ONLY} -t site", 1).split())
    assert set(WAIT.findall(said)) == {f"apply --wait {ONLY} -t site"}


@on_vendor()
def test_without_options_nothing_is_added(waiting: Site) -> None:
    """As it was typed."""
    said = " ".join(command(waiting, "plan -t site").split())
    assert set(WAIT.findall(said)) == {"apply --wait -t site"}


@on_vendor()
def test_the_files_are_named(waiting: Site) -> None:
    """Else the files that `-f` leaves out would be applied as well."""
    folder = waiting.root / "manifests"
    said = " ".join(command(waiting, f"plan -f {folder} -t site").split())
    assert set(WAIT.findall(said)) == {f"apply --wait -f {folder} -t site"}
