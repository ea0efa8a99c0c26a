"""What the state of a target must be bound to, as the target is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.state import Binding

if TYPE_CHECKING:
    from synapse_apply.session.context import StateContext


def binding_now(context: StateContext, *, looking: bool = False) -> Binding:
    """The binding of a target without sending anything; InputError without a url.

    `looking`: where the embedded backend has no data yet, none is made.
    """
    from synapse_apply.session.embedded import running
    from synapse_apply.session.state_file import binding_of
    from synapse_apply.session.surroundings import base_url

    target = context.target
    if target.is_embedded:
        with running(context.project.root, looking=looking) as embedded:
            return binding_of(embedded.url, target, embedded)
    if not target.url:
        raise InputError(
            error(
                "The target has no url",
                f"A state belongs to one backend, and target {target.name} has no url: "
                f"{target.looked_for('url')}.",
                "Set targets.NAME.url in the project file, or SYNAPSE_HOST.",
                position=target.position,
            )
        )
    return binding_of(base_url(target.url), target, None)
