"""Which store a state's URL names, and whether two name one place; no database is imported here."""

from __future__ import annotations

from synapse_apply.stores.bucket.bucket_url import is_bucket_url, parse_bucket_url
from synapse_apply.stores.git.git_url import is_git_url, parse_git_url
from synapse_apply.stores.postgres.postgres_url import is_postgres_url, parse_postgres_state_url


def is_local_or_empty_url(url: str) -> bool:
    """Whether a state's url is empty or names a file, and no store that is reached by a network."""
    return not (is_postgres_url(url) or is_git_url(url) or is_bucket_url(url))


def comparable_location(url: str, target: str) -> tuple[str, ...]:
    """What two URLs have in common that name one place, for the state of a target.

    InputError for a URL that cannot be used, ValueError for one of a local file.
    """
    if is_postgres_url(url):
        location = parse_postgres_state_url(url, target)
        address = location.display_url.partition("?")[0].lower()
        return ("postgresql", address.replace(":5432/", "/"), location.schema)
    if is_bucket_url(url):
        bucket = parse_bucket_url(url, target)
        return (
            bucket.scheme,
            bucket.endpoint.lower(),
            bucket.account,
            bucket.bucket,
            bucket.folder,
        )
    if is_git_url(url):
        repository = parse_git_url(url, target)
        remote = repository.remote.rstrip("/").removesuffix(".git")
        scheme, separator, rest = remote.partition("://")
        host, slash, path = rest.partition("/")
        return ("git", f"{scheme}{separator}{host.lower()}{slash}{path}", repository.ref)
    raise ValueError("a local file")
