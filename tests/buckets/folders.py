"""Folders of buckets as tests open them."""

from __future__ import annotations

from synapse_apply.stores.bucket.bucket_url import OPERATION_SECONDS, parse_bucket_url
from synapse_apply.stores.bucket.obstore_folder import make_unconnected_folder


def open_folder_at(url, environ, deadline=OPERATION_SECONDS):
    """The folder of a state's URL."""
    folder = make_unconnected_folder(parse_bucket_url(url, "t"), environ, "tests")
    folder._deadline = deadline
    return folder
