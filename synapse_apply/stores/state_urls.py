"""Which sort of store a state's URL names, told by the URL alone: no database is imported here."""

from __future__ import annotations

from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.postgres.postgres_url import is_postgres_url


def is_local_url(url: str) -> bool:
    """Whether a state's url is empty or names a file, and no store that is reached by a network."""
    return not (is_postgres_url(url) or is_git_url(url) or is_bucket_url(url))
