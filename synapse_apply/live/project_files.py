"""What a plan asks of the project's files: flaws of packages, written fields, other targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from synapse_apply.manifests.decode.loading import FileCache, load_manifests
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, Position
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.packages import (
    RULES_BY_ID,
    SECRET_RULES,
    Level,
    PackageFlaw,
    iter_limited_flaws,
)
from synapse_apply.model.phrases import shown_path
from synapse_apply.model.resource import Desired
from synapse_apply.planning.plan_input import PackageVerdict, PlanOptions
from synapse_apply.planning.policy.rule_addresses import literal_addresses
from synapse_apply.workspace.offline_target import OfflineTarget
from synapse_apply.workspace.package_sources import relate_to_working_folder

if TYPE_CHECKING:
    from synapse_apply.applying.settle import ResolvedIntent

    # What edits manifests is imported when something is to be told of an edit.
    from synapse_apply.manifests.rewriting import WrittenDocument

    # Offline plans come here, too, and load no client.
    from synapse_apply.workspace.target_session import TargetSession


class PackageJudge:
    """Says what plans of one target refuse in a package; looks into it at the first question."""

    def __init__(self, declared: OfflineTarget) -> None:
        self._declared = declared

    def __call__(self, desired: Desired, options: PlanOptions) -> PackageVerdict:
        """What no option and no policy lets pass, secrets first.

        InputError where the package is no longer what was hashed.
        """
        source, package, target = desired.source, desired.package, self._declared.target
        sources = self._declared.declared_target.sources
        # The embedded backend takes what the platform's own tools refuse.
        if sources is None or source is None or package is None or target.is_embedded:
            return PackageVerdict()
        root = self._declared.project.root
        flaws = [
            replace(flaw, position=relate_to_working_folder(flaw.position, root))
            for flaw in sources.list_flaws(source, target)
            if RULES_BY_ID[flaw.rule].level is Level.REFUSED
        ]
        count_by_file = Counter(flaw.file for flaw in flaws)
        notes = [
            _note_on_pass(flaw, package.digest, options, is_alone=count_by_file[flaw.file] == 1)
            for flaw in flaws
        ]
        left = [flaw for flaw, note in zip(flaws, notes, strict=True) if not note]
        left.sort(key=lambda flaw: flaw.rule not in SECRET_RULES)
        return PackageVerdict(
            tuple(iter_limited_flaws(left)), tuple(dict.fromkeys(filter(None, notes)))
        )


def _note_on_pass(flaw: PackageFlaw, digest: str, options: PlanOptions, *, is_alone: bool) -> str:
    """A note on why a finding is let pass, "" where it is not; `is_alone`: in its file."""
    if flaw.rule not in SECRET_RULES:
        is_lifted = flaw.rule in options.no_package_check
        return f"findings of {flaw.rule} are ignored: --no-package-check" if is_lifted else ""
    line = flaw.position.line if flaw.position else 0
    for entry in options.policy.allow_package_secrets:
        is_meant = (entry.file, entry.digest) == (flaw.file, digest)
        if is_meant and (entry.line == line or (is_alone and not entry.line)):
            return f"the policy allows the secret in {flaw.position}: {entry.reason}"
    return ""


class WrittenFieldPredicate:
    """When a live value can be written in place of a field's declared one, in one target.

    Reads the files at the first question. Of an object with one of `calls`, none is.
    """

    def __init__(self, session: TargetSession, calls: Iterable[ResolvedIntent] = ()) -> None:
        self._session = session
        self._unsettled = {call.intent.address for call in calls}

    def __call__(self, desired: Desired, path: FieldPath) -> bool:
        """Whether the value is written in a manifest or overlay of this resource.

        False for a value from a variable or a package, and for manifests of a commit.
        """
        from synapse_apply.manifests.rewriting import FieldOrigins

        document = self._documents.get(desired.position) if desired.position else None
        if document is None or desired.address in self._unsettled:
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
        from synapse_apply.manifests.rewriting import readable_documents

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
        from synapse_apply.manifests.rewriting import WrittenDocument

        file = self._session.project.file
        if file is None:
            return None
        name = shown_path(file)
        return WrittenDocument(file, name, 0, read_documents(file.read_bytes(), name).documents[0])


def find_declared_elsewhere(
    session: TargetSession, own_addresses: Collection[Address]
) -> frozenset[str]:
    """Of the addresses that a policy rule names, those that other targets with this rule declare.

    Other targets' manifests are read only where a rule names an address that is not among
    `own_addresses`.
    """
    own_names = {str(address) for address in own_addresses}
    rules = {
        rule: names
        for rule in session.target.policy.rules
        if (names := set(literal_addresses(rule, session.catalogue)) - own_names)
    }
    shared_names: set[str] = set()
    file_cache = FileCache()
    for other_target in session.project.targets.values() if rules else ():
        searched_names = {
            name for rule in other_target.policy.rules for name in rules.get(rule, ())
        } - shared_names
        if searched_names and other_target.name != session.target.name:
            declared_addresses = load_manifests(
                session.project, other_target, file_cache=file_cache
            ).desired
            shared_names |= searched_names & {str(address) for address in declared_addresses}
    return frozenset(shared_names)
