"""Stores that do not do what a state depends on are refused before there is a state."""

from __future__ import annotations

import pytest
from buckets.folders import open_folder_at
from buckets.proxy import BucketProxy

from synapse_apply.model.errors import StateError
from synapse_apply.stores.bucket.bucket_probe import require_suitable_bucket
from synapse_apply.stores.chain.chain_log import make_unread_chain_store


def refusal(folder):
    """What the probe says."""
    with pytest.raises(StateError) as caught:
        require_suitable_bucket(folder)
    finding = caught.value.diagnostics[0]
    assert finding.summary == "This bucket cannot hold a state"
    assert "If-None-Match" in finding.hint
    return finding.detail


def test_a_store_that_ignores_the_condition(moto):
    """It accepts the header and lets everybody through."""
    proxy = BucketProxy(moto.port, dropped=["If-None-Match"])
    folder = open_folder_at(moto.url(port=proxy.port), moto.environ)
    assert "16 of 16 concurrent requests were each told that they created the same" in refusal(
        folder
    )
    assert list(folder.list_objects("probe/")) == []
    folder.close()
    proxy.close()


def test_a_store_that_does_not_list_what_was_made(proxy, spoiled):
    """A list that lags behind."""
    empty = b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
    proxy.choose = lambda method, path: (200, empty) if method == "GET" and "list" in path else None
    assert "does not list an object that was just created" in refusal(spoiled)


def test_a_store_that_looks_first_and_writes_later(proxy, spoiled):
    """One after another each is told the truth; of several at once, more than one."""
    answers = iter([(200, b"")] * 2)
    heads = {"n": 0}

    def choose(method, _path):
        heads["n"] += method == "PUT"
        return next(answers, None) if method == "PUT" and heads["n"] in (2, 3) else None

    proxy.choose = choose
    proxy.extra_headers = [("ETag", '"x"')]
    assert "concurrent requests were each told" in refusal(spoiled)


def test_without_the_right_to_delete_a_bucket_will_do(proxy, spoiled):
    """It is said, and nothing is pruned."""
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    proxy.choose = lambda method, _path: (403, denied) if method == "DELETE" else None
    assert require_suitable_bucket(spoiled) is False


STAMPS = [("ETag", '"x"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")]


@pytest.mark.parametrize("headers", [[], STAMPS], ids=["plain", "stamped"])
def test_a_page_that_asks_for_a_login_is_no_empty_bucket(proxy, spoiled, headers):
    """A portal answers 200 to everything; its page reads as a list without objects."""
    proxy.choose = lambda _method, _path: (200, b"<html><body>quoted</body></html>")
    proxy.extra_headers = headers
    for use in (
        make_unread_chain_store(spoiled).exists,
        make_unread_chain_store(spoiled).read_serial,
    ):
        with pytest.raises(StateError, match="The endpoint is not an object store") as caught:
            use()
        assert "A proxy may answer at http://127.0.0.1" in caught.value.diagnostics[0].hint
    proxy.choose = lambda _method, _path: None
    assert not make_unread_chain_store(spoiled).exists()
    spoiled.try_put_if_absent_and_tell_if_certain("links/000000000001", b"<html/>")
    assert make_unread_chain_store(spoiled).exists()  # and damaged, by whoever made that
