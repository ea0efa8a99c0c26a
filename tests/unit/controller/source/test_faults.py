"""What a check tells of sources before any is reached."""

from __future__ import annotations

import pytest

from synapse_apply.controller.configuration.checks import iter_source_faults
from synapse_apply.controller.settings import Source


def list_summaries(source: Source) -> list[str]:
    return [fault.summary for _, fault in iter_source_faults(source)]


@pytest.mark.parametrize("url", ["https://user@h/x", "https://h/x?y", "https://h/\nx", "/a::b"])
def test_a_url_that_a_start_refuses_is_a_fault(url):
    assert list_summaries(Source("acme", url)) == ["Invalid source url"]


def test_refs_and_folders_that_a_start_refuses_are_faults():
    """All of them in one run; a commit is a pin, and no ref."""
    odd = Source("acme", "/srv/x", ref="a..b", path="/etc", project_from="c..d")
    assert len(list_summaries(odd)) == 3
    assert list_summaries(Source("acme", "https://h/x", project_from="a" * 40)) == []
    for commit in ("a" * 40, "0" * 64):
        source = Source("acme", "https://h/x", ref=commit)
        assert list_summaries(source) == ["A source cannot follow a commit"]
