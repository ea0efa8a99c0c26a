"""What a source's page shows, and what of a source needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from synapse_apply.controller.rows import RevisionRow, SourceRow
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.store_ports import ReadableStore
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.views.sanitize import sanitize_url

_SHOWN_REVISIONS = 50


@frozen
class SourceTrouble:
    """Why a source needs a person."""

    source: SourceRow
    finding: Diagnostic


@frozen
class SourceView:
    """The contents of a source's page; `url` and `ref` are "" where it is not configured."""

    source: SourceRow
    troubles: Sequence[SourceTrouble]
    revisions: Sequence[RevisionRow]
    url: str = ""
    ref: str = ""


def list_source_troubles(
    store: ReadableStore, sources: Sequence[SourceRow]
) -> Sequence[SourceTrouble]:
    """What is wrong with the sources themselves: fetches, refs that went back, broken heads."""
    return [trouble for source in sources for trouble in _iter_source_troubles(store, source)]


def _iter_source_troubles(store: ReadableStore, source: SourceRow) -> Iterator[SourceTrouble]:
    if source.finding is not None:
        yield SourceTrouble(source, source.finding)
    revision = (
        store.find_newest_revision_of_commit(source.name, source.head) if source.head else None
    )
    if revision is not None and revision.finding is not None:
        yield SourceTrouble(source, revision.finding)


def read_source_view_or_none(
    store: ReadableStore, name: str, settings: Controller
) -> SourceView | None:
    """Read what a source's page shows; None for an unknown source."""
    source = next((row for row in store.list_configured_sources() if row.name == name), None)
    if source is None:
        return None
    configured = settings.sources.get(name)
    return SourceView(
        source,
        list_source_troubles(store, [source]),
        store.list_newest_revisions(name, _SHOWN_REVISIONS),
        sanitize_url(configured.url) if configured else "",
        configured.ref if configured else "",
    )
