"""Objects of others in the folder of a state: what they are called is told, or they are no matter."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from buckets.folders import open_folder_at
from buckets.servers import BUCKET, BucketServer
from contract.buckets.test_bucket_errors import refusal

ODD = ["links/../x", "links//x", "links/./y", "links/a\x01b", "snapshots/../../z"]


@pytest.mark.parametrize("name", ODD)
def test_an_object_that_cannot_be_listed_is_named(moto: BucketServer, name: str) -> None:
    """Nobody is sent to look for a broken network; and nothing is read as if it was not there."""
    url = moto.url()
    place = url.partition("?")[0].rpartition("/")[2]
    folder = open_folder_at(url, moto.environ)
    try:
        folder.try_put_if_absent_and_tell_if_certain("links/000000000001", b"x")
        assert moto.ask("PUT", f"/{BUCKET}/{quote(f'{place}/{name}')}", body=b"y") == 200
        words = refusal(lambda: folder.list_objects(f"{name.partition('/')[0]}/"))
        assert "The state's folder contains a foreign object" in words
        assert repr(f"{place}/{name}")[1:-1] in words
        assert "Delete the object with exactly this name" in words
        assert folder.get_or_none_if_absent("links/000000000001") == b"x"
    finally:
        folder.close()
