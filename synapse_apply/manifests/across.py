"""What only shows when all documents are seen together: duplicates, references, shared sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from synapse_apply.manifests.draft import PUBLISHED, Context
from synapse_apply.manifests.overlays import Overlay
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.address import Address
from synapse_apply.model.credentials import hide_secret
from synapse_apply.model.desired import Desired, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity, error, warning
from synapse_apply.model.values import Reference
from synapse_apply.model.versions import Order, order

_MOST_GUESSES = 20


def duplicate(address: Address, first: Position | None, second: Position | None) -> Diagnostic:
    """Two documents declare one address."""
    return error(
        "Declared twice",
        f"{address} is declared here and at {first}",
        "keep one of the two, or give one another name",
        position=second,
        address=str(address),
    )


def check_references(
    declared: Mapping[Address, Desired], known: Collection[Address]
) -> Iterable[Diagnostic]:
    """References to what is not declared; `known` holds also what could not be decoded."""
    hints: dict[Address, str] = {}
    for one in declared.values():
        for name, value in one.spec.items() if one.depends_on else ():
            if isinstance(value, Reference) and value.address not in known:
                kind = value.address.kind
                hint = _hint(value.address, known, hints)
                yield error(
                    f"Missing {kind}",
                    f"no manifest declares {value.address}",
                    f"{hint.rstrip('?')}; for one that is not declared write {{id: 123}}",
                    position=one.place((name,)),
                    address=str(one.address),
                    path=("spec", name),
                )


def _hint(missing: Address, known: Collection[Address], hints: dict[Address, str]) -> str:
    """What was probably meant; looked for a few times only, since it compares with every name."""
    if missing not in hints and len(hints) < _MOST_GUESSES:
        names = [address.name for address in known if address.kind == missing.kind]
        hints[missing] = did_you_mean(missing.name, names)
    return hints.get(missing) or "declare it"


def check_sources(declared: Mapping[Address, Desired]) -> Iterable[Diagnostic]:
    """Releases that publish one and the same source: only the newest can be what is there."""
    by_source: dict[tuple[str, str, str], list[Desired]] = defaultdict(list)
    for one in declared.values():
        source = one.source
        if source is not None and source.kind != PUBLISHED:
            by_source[source.kind, source.path, source.ref].append(one)
    for sharing in by_source.values():
        if len(sharing) > 1:
            newest = max(sharing, key=_by_version)
            for older in sharing:
                if older is not newest:
                    yield _shared(older, newest)


def _by_version(one: Desired) -> tuple[bool, Order | tuple[()], str]:
    """Ordered versions after those that have no order, which are compared as text."""
    version = str(one.spec.get("version", ""))
    at = order(version)
    return at is not None, at or (), version


def _shared(older: Desired, newest: Desired) -> Diagnostic:
    source = older.source or PackageSource("folder")
    return warning(
        "Two releases of one source",
        f"{older.address} and {newest.address} ({newest.position}) both take {source}",
        f"delete the document of {older.address}: a published release stays on the server",
        position=older.position,
        address=str(older.address),
    )


def check_codes(context: Context, declared: Mapping[Address, Desired]) -> Iterable[Diagnostic]:
    """A package whose config.yaml names another code than the plugin it is released for."""
    for one in declared.values():
        owner = declared.get(one.depends_on[0]) if one.depends_on else None
        if owner is None or one.source is None:
            continue
        config, positions = context.config(one.source)
        ours, theirs = owner.spec.get("code"), config.get("code")
        if ours is not None and theirs is not None and ours != theirs:
            there = positions.get(("code",))
            yield error(
                "Manifest and package disagree",
                f"{owner.address} has code {ours} ({owner.place(('code',))}), but `code` is"
                f" {hide_secret(theirs)} in the package's config.yaml"
                + (f" ({there})" if there else ""),
                "make both the same, or release another package",
                position=one.place(("plugin",)),
                address=str(one.address),
            )


def check_overlays(
    overlays: Iterable[Overlay],
    used: Collection[str],
    known: Collection[Address],
    target: str,
    ref: str = "",
) -> Iterable[Diagnostic]:
    """Overlays that fit nothing: an error for an address, a warning for a pattern.

    Manifests of a Git ref may not have the address yet, which is a warning, too.
    """
    for overlay in overlays:
        if overlay.pattern in used:
            continue
        yield Diagnostic(
            Severity.WARNING if overlay.is_pattern or ref else Severity.ERROR,
            "Overlay of nothing",
            f"no manifest of target {target} declares {overlay.pattern}"
            + (f" in {ref}: it is passed over" if ref else ""),
            did_you_mean(overlay.pattern, [str(address) for address in known]),
            overlay.position,
            target=target,
        )
