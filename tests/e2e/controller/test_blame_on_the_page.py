"""Where live values come from, on the page of a target at a running controller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.site import Site
from forges.loopback_server import wait_until


class LinedSite(Site):
    def build_manifest(self, description: str) -> str:
        """With a line for the description."""
        text = super().build_manifest(description)
        return text.replace(", description:", ",\n  description:")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with LinedSite(tmp_path) as made:
        yield made


def test_a_live_value_has_its_commit_or_its_times(site: Site) -> None:
    """First what Git changes, by whose commit it is live; then what somebody changed outside."""
    before = site.run_git("rev-parse", "HEAD").strip()
    author = site.run_git("log", "-1", "--format=%an").strip()
    site.commit("cars")
    site.start()
    wait_for(site, f"<code>description</code>: declared by commit {before[:12]} of {author} ")
    assert re.search(r"; sent 20\S+ by call \S+ \(request \S+\), create of apply ", read(site))
    site.change_by_hand("by hand")
    wait_for(site, "<code>description</code>: changed outside between 20")
    site.check_no_write()
    site.check_no_secret()


def read(site: Site) -> str:
    return " ".join(site.get_page("/targets/acme/dev").text.split())


def wait_for(site: Site, text: str) -> None:
    wait_until(lambda: text in read(site), 60, f"the page says {text}\n{site.read_log()}")
