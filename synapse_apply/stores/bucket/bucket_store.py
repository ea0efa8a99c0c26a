"""How a state in a bucket is opened from its URL, and what of it pruning could not delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from synapse_apply.stores.bucket.bucket_url import parse_bucket_url
from synapse_apply.stores.bucket.obstore_folder import ObstoreFolder, open_folder
from synapse_apply.stores.chain.chain_log import open_chain
from synapse_apply.stores.chain.signer import Signer
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.sql import SqlStore, utc_now


def open_bucket(
    url: str,
    target: str,
    environ: Mapping[str, str],
    *,
    signer: Signer | None = None,
    tool_version: str = "",
    now: Callable[[], str] = utc_now,
    runner: LockRunner | None = None,
) -> SqlStore:
    """The store at a URL for a target; nothing is sent yet. InputError for an unusable URL.

    `environ` has credentials and other settings of the bucket's client.
    """
    folder = open_bucket_folder(url, target, environ, tool_version)
    return open_chain(folder, signer=signer, tool_version=tool_version, now=now, runner=runner)


def open_bucket_folder(
    url: str, target: str, environ: Mapping[str, str], tool_version: str = ""
) -> ObstoreFolder:
    """The folder of a state's objects; nothing is sent yet. InputError for an unusable URL."""
    return open_folder(parse_bucket_url(url, target), environ, f"synapse-apply/{tool_version}")
