"""How the bucket of a target's state is opened: by the commands that use it, and to look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from synapse_apply import __version__
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Target
from synapse_apply.stores.bucket.bucket_options import build_account_endpoint
from synapse_apply.stores.bucket.bucket_url import is_bucket_url, parse_bucket_url
from synapse_apply.stores.chain.chain_log import make_unread_chain_store
from synapse_apply.stores.chain.signer import Signer
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.sql import SqlStore
from synapse_apply.workspace.environment import require_allowed_host

if TYPE_CHECKING:
    from synapse_apply.stores.bucket.obstore_folder import ObstoreFolder

# A command that only looks asks for one thing after the other, and each look is a round trip.
FRESH_SECONDS = 2.0


def open_bucket_store(
    url: str,
    target: Target,
    environ: Mapping[str, str],
    runner: LockRunner,
    signer: Signer | None = None,
) -> SqlStore:
    """The store at the URL of a bucket; nothing is sent yet.

    InputError as `_open_bucket_folder_or_raise`.
    """
    folder = _open_bucket_folder_or_raise(url, target, environ)
    return make_unread_chain_store(
        folder,
        signer=signer,
        tool_version=__version__,
        runner=runner,
        fresh_seconds=FRESH_SECONDS,
    )


@contextmanager
def open_bucket_folder_or_none_for_other_url(
    url: str, target: Target, environ: Mapping[str, str]
) -> Iterator[ObstoreFolder | None]:
    """The folder at the URL of a state for the block; None where it is that of no bucket."""
    if not is_bucket_url(url):
        yield None
        return
    with closing(_open_bucket_folder_or_raise(url, target, environ)) as folder:
        yield folder


def _open_bucket_folder_or_raise(
    url: str, target: Target, environ: Mapping[str, str]
) -> ObstoreFolder:
    """InputError for an unusable URL, a host that may not have credentials, a missing package."""
    try:
        from synapse_apply.stores.bucket.obstore_folder import make_unconnected_folder
    except ImportError:
        raise InputError.from_summary(
            "State in a bucket needs one more package",
            f"Target {target.name} keeps its state in a bucket; obstore is not installed.",
            "pip install 'synapse-apply[bucket]'",
            position=target.position,
        ) from None
    location = parse_bucket_url(url, target.name)
    # Azure's tokens are sent as they are. What the environment names is the operator's own.
    endpoint, setting = location.endpoint, "endpoint="
    if not endpoint and url == target.state.url:
        endpoint, setting = build_account_endpoint(location, environ), "account="
    if endpoint:
        require_allowed_host(
            endpoint,
            environ,
            credential="key of the state's bucket",
            setting=f"{setting} of state.url",
        )
    return make_unconnected_folder(location, environ, f"synapse-apply/{__version__}")
