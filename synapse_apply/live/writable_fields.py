"""When a live value can be written in place of a field's declared one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.diagnostic import FieldPath, Position
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.resource import Desired
from synapse_apply.views.paths import shown_path
from synapse_apply.workspace.target_session import TargetSession

# What edits manifests is imported when something is to be told of an edit.
if TYPE_CHECKING:
    from synapse_apply.manifests.edit.rewriting import WrittenDocument


class WrittenFieldPredicate:
    """Answers for one target; reads the files at the first question."""

    def __init__(self, session: TargetSession) -> None:
        self._session = session

    def __call__(self, desired: Desired, path: FieldPath) -> bool:
        """Whether the value is written in a manifest or overlay of this resource.

        False for a value from a variable or a package, and for manifests of a commit.
        """
        from synapse_apply.manifests.edit.rewriting import FieldOrigins

        document = self._documents.get(desired.position) if desired.position else None
        if document is None:
            return False
        try:
            FieldOrigins(
                self._session.target, desired, document, self._project_document, is_shared=False
            ).require_edit_spot(path)
        except (SynapseApplyError, OSError):
            return False
        return True

    @cached_property
    def _documents(self) -> dict[Position, WrittenDocument]:
        from synapse_apply.manifests.edit.rewriting import readable_documents

        session = self._session
        if session.declared_target.commit:
            return {}
        try:
            documents = readable_documents(session.project, [session.target], list(session.paths))
            return {document.position: document for document in documents}
        except (SynapseApplyError, OSError):
            return {}

    @cached_property
    def _project_document(self) -> WrittenDocument | None:
        from synapse_apply.manifests.edit.rewriting import WrittenDocument

        file = self._session.project.file
        if file is None:
            return None
        name = shown_path(file)
        return WrittenDocument(file, name, 0, read_documents(file.read_bytes(), name).documents[0])
