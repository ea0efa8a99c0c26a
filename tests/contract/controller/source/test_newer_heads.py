"""Whether a repository has a newer commit by now than the head that is known."""

import time

from contract.controller.upstream import PROJECT, build_source, read_no_secret
from forges.loopback_server import wait_until

from synapse_apply.controller.source.mirror import GitMirror

FILES = {"synapse-apply.yaml": PROJECT}


def test_a_newer_commit_is_found_and_one_beside_is_none(upstream, data):
    """Also by a machine that has no mirror yet."""
    first = upstream.commit(FILES)
    mirror = GitMirror(build_source(upstream), data, read_no_secret)
    assert mirror.fetch_head().commit == first
    assert mirror.find_newer_head(first) is None
    second = upstream.commit({"README.md": "second"})
    wait_until(lambda: mirror.find_newer_head(first) == second, 60, "the newer commit")
    assert mirror.find_newer_head(second) is None
    assert mirror.fetch_head().commit == second
    upstream.commit({"README.md": "beside"}, parent=first)
    other = GitMirror(build_source(upstream), data.with_name("other"), read_no_secret)
    assert other.find_newer_head(second) is None
    third = upstream.commit({"README.md": "third"}, parent=second)
    wait_until(lambda: other.find_newer_head(second) == third, 60, "the newer commit")


def test_a_repository_that_is_gone_keeps_what_is_known(upstream, data):
    first = upstream.commit(FILES)
    mirror = GitMirror(build_source(upstream), data, read_no_secret)
    mirror.fetch_head()
    second = upstream.commit({"README.md": "second"})
    wait_until(lambda: mirror.find_newer_head(first) == second, 60, "the newer commit")
    upstream.path.rename(upstream.path.with_name("away.git"))
    time.sleep(1.1)  # what was asked a second ago is asked again
    assert mirror.find_newer_head(first) == second
    assert mirror.find_newer_head(second) is None
