"""Which sources cannot be followed as they are written, told without reaching any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synapse_apply.controller.forge.senders import build_status_sender
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.access import build_source_access
from synapse_apply.controller.source.places import source_folders
from synapse_apply.controller.source.remote_refs import build_pin_revision_or_empty, refs_meant_by
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.values import Sensitive


def iter_source_faults(source: Source) -> Iterator[tuple[str, Diagnostic]]:
    """What a start would refuse of a source's settings, each behind the key that it is about."""
    for key, require_usable in _REQUIREMENTS.items():
        findings: list[Diagnostic] = []
        with collect_findings(findings):
            require_usable(source)
        yield from ((key, finding) for finding in findings)


@contextmanager
def collect_findings(findings: list[Diagnostic]) -> Iterator[None]:
    """Add what the block raises for people to `findings`."""
    try:
        yield
    except SynapseApplyError as problem:
        findings.extend(problem.diagnostics)


def _require_usable_pin(source: Source) -> object:
    pin = build_pin_revision_or_empty(source)
    # Of a commit there is no name to look up.
    return refs_meant_by(source, source.project_from) if pin != source.project_from else ()


# Any that a header can carry: what is read is another one.
_TOKEN = Sensitive("token")
_REQUIREMENTS: dict[str, Callable[[Source], object]] = {
    "url": build_source_access,
    "path": lambda source: source_folders(Path(), source),
    "ref": lambda source: refs_meant_by(source, source.ref),
    "pin": _require_usable_pin,
    "commit_status": lambda source: (
        source.status and build_status_sender(source.status, source.ref, _TOKEN)
    ),
}
