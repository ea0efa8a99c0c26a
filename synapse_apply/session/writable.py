"""Whether a live value can be written where the declared one of a field stands."""

from __future__ import annotations

from functools import cached_property

from synapse_apply.manifests.origins import Origins
from synapse_apply.manifests.reader import read
from synapse_apply.manifests.written import Written, written
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Path, Position
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.session import declare
from synapse_apply.session.context import Context


class Writable:
    """Answers for one target; the files are read when it is first asked."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, desired: Desired, path: Path) -> bool:
        """Whether the value stands in a manifest, or an overlay, of this resource alone.

        False for what a variable or a package gives, and where manifests are those of a commit.
        """
        document = self._documents.get(desired.position) if desired.position else None
        if document is None:
            return False
        try:
            Origins(self._context.target, desired, document, self._own, shared=False).spot(path)
        except (SynapseApplyError, OSError):
            return False
        return True

    @cached_property
    def _documents(self) -> dict[Position, Written]:
        context = self._context
        if context.revision:
            return {}
        try:
            found = written(context.project, [context.target], list(context.paths))
            return {one.position: one for one in found}
        except (SynapseApplyError, OSError):
            return {}

    @cached_property
    def _own(self) -> Written | None:
        file = self._context.project.file
        if file is None:
            return None
        name = declare.shown(file)
        return Written(file, name, 0, read(file.read_bytes(), name).documents[0])
