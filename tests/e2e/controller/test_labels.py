"""Targets of a running controller, chosen by labels that the head declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.site import Site
from forges.loopback_server import wait_until
from in_process import run


class LabelledSite(Site):
    tier = "first"

    def build_project(self) -> str:
        """Two targets with labels."""
        text = super().build_project()
        _, _, dev = text.partition("  dev:\n")
        other = dev.replace("dev.db", "other.db")
        return f"{text}    labels: {{tier: {self.tier}}}\n  other:\n{other}    labels: {{tier: last}}\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LabelledSite]:
    with LabelledSite(tmp_path) as made:
        yield made


def test_labels_are_those_of_the_head(site: LabelledSite) -> None:
    site.start()
    wait_for(site, "first", ["acme/dev"])
    assert list_targets(site, "last") == ["acme/other"]
    site.tier = "moved"
    (site.checkout / "synapse-apply.yaml").write_text(site.build_project())
    site.commit("images")
    wait_for(site, "moved", ["acme/dev"])
    assert list_targets(site, "first") == []


def list_targets(site: Site, tier: str) -> list[str]:
    page = site.get_page(f"/?label=tier%3D{tier}").text
    return re.findall(r'<th scope="row"><a href="/targets/([^"]+)"', page)


def wait_for(site: Site, tier: str, names: list[str]) -> None:
    text = f"{names} has tier={tier}\n{site.read_log()}"
    wait_until(lambda: list_targets(site, tier) == names, 60, text)


def test_commands_choose_targets_by_a_label(site: LabelledSite) -> None:
    site.start()
    wait_for(site, "first", ["acme/dev"])
    for place in (f"--url {site.url}", "--data data"):
        for selector in ("tier=first", "tier=f*", "tier=first,acme/*"):
            shown = run(f"controller status {place} {selector}", site.folder, {}).stdout
            assert "acme/dev" in shown
            assert "acme/other" not in shown
        refused = run(f"controller status {place} tier=first,acme/other", site.folder, {}, 1)
        assert "No target matches" in refused.stderr
        assert "tier=first,acme/other" in refused.stderr
