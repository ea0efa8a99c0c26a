"""How the repository of a target's state is opened, and to which hosts a state may go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synapse_apply import __version__
from synapse_apply.model.project import Target
from synapse_apply.stores.chain.signer import Signer
from synapse_apply.stores.git.git_log import make_unstarted_git_store
from synapse_apply.stores.git.git_url import parse_git_url
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.sql import SqlStore
from synapse_apply.workspace.environment import require_allowed_host

# What a command that only looks has read of a repository is good for so long.
_FRESH_SECONDS = 5.0


def open_git_store(
    url: str,
    project_root: Path,
    target: Target,
    environ: Mapping[str, str],
    runner: LockRunner,
    signer: Signer | None = None,
) -> SqlStore:
    """The store at a `git:` URL; Git is not started yet.

    InputError for an unusable URL, and for one of a host that SYNAPSE_APPLY_HOSTS does not list.
    """
    location = parse_git_url(url, target.name)
    # The remotes of a checkout are its owner's own, who has given it credentials for them.
    if location.is_url and not location.remote.startswith("file:"):
        require_allowed_host(
            location.remote, environ, credential="state of the target", setting="state.url"
        )
    return make_unstarted_git_store(
        location,
        project_root,
        signer=signer,
        tool_version=__version__,
        runner=runner,
        fresh_seconds=_FRESH_SECONDS,
    )
