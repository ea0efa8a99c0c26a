"""`synapse-apply doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options, revisions
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "doctor",
    examples=[
        ("synapse-apply doctor", "Look at the only target from all sides."),
        ("synapse-apply doctor -t prod", "Before the first apply, and when something is odd."),
        ("synapse-apply doctor -t prod --json", "The same for a script, or to attach to a report."),
    ],
    exits=[("0", "nothing is wrong, warnings aside"), ("1", "something is wrong; all is shown")],
)
@options.output
@options.place
@revisions.rules
@options.files
@options.variables
def command(*, face: Face, where: Where) -> int:
    """Say everything that is wrong with a target at once.

    Looks at the project file, the manifests, url, allowed hosts and credentials, whether the
    backend answers and takes token and tenant, what it can do, its clock, the health of the
    target's agents, and the state: its binding, lineage, key, lock and calls of unknown outcome.

    Changes nothing and makes nothing. What is broken hides nothing else, and what could not be
    checked is said. No value of a secret is shown, only where it comes from.
    """
    from synapse_apply import __version__
    from synapse_apply.session.doctor import doctor
    from synapse_apply.views.checkup import checkup_document, render_checkup

    checkup = doctor(where)
    if face.as_json:
        face.document(checkup_document(checkup, tool_version=__version__))
    else:
        face.out(render_checkup(checkup, color=face.color_out))
    return checkup.exit_code
