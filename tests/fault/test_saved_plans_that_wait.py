"""A saved plan while an earlier call of its object may still act: it has not changed, it waits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fault.convergence import command, on_api
from fault.site import MakeSite, Server, Site
from fault.test_lost_updates import begun, declare, killed, live

CHANGED = re.compile("changed since it was planned|differs from the reviewed plan|nothing to do")
WAIT = re.compile(r"`synapse-apply (apply --wait [^`]*)` waits for the call")


def told(text: str) -> str:
    return " ".join(text.split())


def waiting(site: Site, server: Server) -> None:
    """A plan to `eleven` is saved; then an update to `twelve` is lost, and eleven declared again."""
    declare(site, "eleven")
    command(site, "plan --out next.plan -t site")
    declare(site, "twelve")
    killed(site, server, "before")
    declare(site, "eleven")


@on_api("v1", "v2")
@pytest.mark.parametrize("option", ["", "--reviewed "])
def test_a_saved_plan_waits_and_is_applied_by_the_command_that_is_named(
    make_site: MakeSite, option: str
) -> None:
    """What it may overwrite cannot be told yet; the way out applies this file, not the checkout."""
    site = begun(make_site)
    waiting(site, site.server)
    said = told(command(site, f"apply {option}next.plan", code=7))
    assert "it is too early to know whether the server acted on it" in said
    assert not CHANGED.search(said), said
    typed = set(WAIT.findall(said))
    assert typed == {f"apply --wait {option}{site.root / 'next.plan'} -t site"}
    command(site, typed.pop())
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
def test_a_saved_plan_waits_for_a_call_that_was_given_up(make_site: MakeSite) -> None:
    """The same was sent again and answered: other values wait for the call, in a plan of their own.

    This one has the row as refused, whatever is waited for.
    """
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    declare(site, "eleven")
    command(site, "plan --out next.plan -t site")
    said = told(command(site, "apply next.plan", code=7))
    assert not CHANGED.search(said), said
    assert not WAIT.search(said), said
    assert "plan again after " in said


def test_a_saved_plan_that_is_used_up_names_no_command_that_it_would_refuse(
    make_site: MakeSite,
) -> None:
    """Its other row is done: a plan is used once, what waits is in a new one."""
    site = begun(make_site)
    declare(site, "eleven")
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(path.read_text().replace("storage-0", "storage-9"))
    command(site, "plan --out next.plan -t site")
    declare(site, "twelve")
    text = path.read_text()
    path.write_text(text.replace("storage-9", "storage-0"))
    killed(site, site.server, "before")
    path.write_text(text)
    declare(site, "eleven")
    said = told(command(site, "apply next.plan", code=7))
    assert "1 added" in said
    assert "plan again after" in said
    assert "apply --wait" not in said
    assert not CHANGED.search(said), said


def test_what_depends_on_a_row_that_waits_has_not_changed_either(make_site: MakeSite) -> None:
    """A new release of a plugin whose update may still act."""
    site = begun(make_site)
    declare(site, "eleven")
    path: Path = site.root / "manifests" / "group-0.yaml"
    before = path.read_text()
    config = site.root / "plugins" / "plugin-0" / "config.yaml"
    config.write_text(config.read_text().replace("1.0.0", "1.1.0"))
    path.write_text(before.replace('"version": "1.0.0"', '"version": "1.1.0"'))
    command(site, "plan --out next.plan -t site")
    planned = path.read_text()
    path.write_text(before)
    config.write_text(config.read_text().replace("1.1.0", "1.0.0"))
    declare(site, "twelve")
    killed(site, site.server, "before")
    config.write_text(config.read_text().replace("1.0.0", "1.1.0"))
    path.write_text(planned)
    said = told(command(site, "apply next.plan", code=7))
    assert "release/plugin-0@1.1.0 cannot be created: it depends on plugin/plugin-0" in said
    assert not CHANGED.search(said), said


def test_a_plan_that_can_do_nothing_is_not_offered(make_site: MakeSite) -> None:
    """What it refuses it refuses for good: whoever saves it is told so."""
    site = begun(make_site)
    killed(site, site.server, "before")
    declare(site, "eleven")
    said = told(command(site, "plan --out early.plan -t site"))
    assert "Saved the plan to early.plan" in said
    assert "Apply it with" not in said
    assert "Refused rows stay refused in this plan." in said
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(path.read_text().replace("storage-0", "storage-9"))
    said = told(command(site, "plan --out both.plan -t site"))
    assert "rows stay refused in this plan. Resolve them, then plan again." in said
    assert "Apply it with `synapse-apply apply -t site both.plan`" in said
