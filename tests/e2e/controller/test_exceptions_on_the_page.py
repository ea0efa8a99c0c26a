"""Exceptions that end, as the page of a running controller tells them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from controllers.site import Site
from forges.loopback_server import wait_until

RULE = """
policy:
  rules:
    - rule: allowed-providers
      values: [gcp]
      except: [{address: storage/raw-data, until: DAY, reason: Ticket 12}]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        yield made


def test_the_page_tells_what_ends(site: Site) -> None:
    """First that it ends within a week, then that it has ended; the same finding is one run."""
    today = datetime.now(UTC).date()
    project = site.checkout / "synapse-apply.yaml"
    text = project.read_text()
    for days, summary in ((3, "An exception ends within a week"), (-1, "An exception has ended")):
        project.write_text(text + RULE.replace("DAY", f"{today + timedelta(days=days)}"))
        site.commit("images")
        if site.process is None:
            site.start()
        wait_until(
            lambda summary=summary: summary in site.get_page("/targets/acme/dev").text,  # type: ignore[misc]
            60,
            f"the page says {summary}\n{site.read_log()}",
        )
        page = " ".join(site.get_page("/targets/acme/dev").text.split())
        assert "of policy rule allowed-providers" in page
        assert "Ticket 12" in page
        assert f"{today + timedelta(days=days)}" in page
    runs = [run["repeats"] for run in site.get("/api/v1/runs?target=acme/dev")["items"]]
    assert len(runs) <= 4, runs
    site.check_no_write()
