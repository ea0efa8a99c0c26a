"""What the state of a target must be bound to, as the target is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.state import StateIdentity

if TYPE_CHECKING:
    from synapse_apply.workspace.target_session import TargetSession


def build_current_identity(session: TargetSession, *, is_read_only: bool = False) -> StateIdentity:
    """The binding of a target without sending anything; InputError without a url.

    `is_read_only`: where the embedded backend has no data yet, none is made.
    """
    from synapse_apply.workspace.embedded import open_embedded_backend
    from synapse_apply.workspace.environment import normalize_base_url
    from synapse_apply.workspace.state_access import build_state_identity

    target = session.target
    if target.is_embedded:
        with open_embedded_backend(session.project.root, read_only=is_read_only) as embedded:
            return build_state_identity(embedded.url, target, embedded)
    if not target.url:
        raise InputError(
            error_finding(
                "The target has no url",
                f"A state belongs to one backend, and target {target.name} has no url: "
                f"{target.describe_setting_sources('url')}.",
                "Set targets.NAME.url in the project file, or SYNAPSE_HOST.",
                position=target.position,
            )
        )
    return build_state_identity(normalize_base_url(target.url), target, None)
