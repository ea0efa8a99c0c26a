"""Checks across all documents of a target: duplicates, missing references, shared sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from synapse_apply.manifests.decode.draft import PUBLISHED, DecodeContext
from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.decode.package_needs import build_release_version_sort_key
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import (
    Diagnostic,
    Position,
    Severity,
    error_finding,
    warning_finding,
)
from synapse_apply.model.phrases import (
    FirstHints,
    suggest_closest_or_list_known_words_or_empty,
)
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_it_holds_secret_of_known_form
from synapse_apply.model.values import Reference


def build_declared_twice_error(
    address: Address, first_position: Position | None, second_position: Position | None
) -> Diagnostic:
    """The error for two documents that declare one address, at the second of them."""
    return error_finding(
        "Declared twice",
        f"{address} is declared here and at {first_position}",
        "keep one of the two, or give one another name",
        position=second_position,
        address=str(address),
    )


def iter_undeclared_reference_errors(
    declared: Mapping[Address, Desired], known_addresses: Collection[Address]
) -> Iterable[Diagnostic]:
    """An error for each reference to an address that no manifest declares.

    `known_addresses` includes addresses whose documents could not be decoded: a broken document
    must not cause a second error at everything that refers to it.
    """
    hints = FirstHints()
    for resource in declared.values():
        # `depends_on` is empty without a Reference in the spec, which spares the walk for most
        # resources.
        for name, value in resource.spec.items() if resource.depends_on else ():
            if isinstance(value, Reference) and value.address not in known_addresses:
                kind = value.address.kind
                search = partial(_suggest_similar_address, value.address, known_addresses)
                hint = hints.find_hint(search) or "declare it"
                yield error_finding(
                    f"Missing {kind}",
                    f"no manifest declares {value.address}",
                    f"{hint.rstrip('?')}; for one that is not declared write {{id: 123}}",
                    position=resource.find_position((name,)),
                    address=str(resource.address),
                    path=("spec", name),
                )


def _suggest_similar_address(missing: Address, known_addresses: Collection[Address]) -> str:
    names = [address.name for address in known_addresses if address.kind == missing.kind]
    return suggest_closest_or_list_known_words_or_empty(missing.name, names)


def iter_shared_source_warnings(declared: Mapping[Address, Desired]) -> Iterable[Diagnostic]:
    """A warning for each release whose source a newer declared release takes, too.

    A folder or a Git ref has one content, so only one release can be published from it.
    """
    by_source: dict[tuple[str, str, str], list[Desired]] = defaultdict(list)
    for resource in declared.values():
        source = resource.source
        # A published package has no source of its own to share.
        if source is not None and source.kind != PUBLISHED:
            by_source[source.kind, source.path, source.ref].append(resource)
    for releases in by_source.values():
        if len(releases) > 1:
            newest = max(releases, key=build_release_version_sort_key)
            for older in releases:
                if older is not newest:
                    yield _build_shared_source_warning(older, newest)


def _build_shared_source_warning(older_release: Desired, newest_release: Desired) -> Diagnostic:
    shared_source = older_release.source or PackageSource("folder")
    return warning_finding(
        "Two releases of one source",
        f"{older_release.address} and {newest_release.address} ({newest_release.position}) both "
        f"take {shared_source}",
        f"delete the document of {older_release.address}: a published release stays on the server",
        position=older_release.position,
        address=str(older_release.address),
    )


def iter_plugin_code_mismatch_errors(
    context: DecodeContext, declared: Mapping[Address, Desired]
) -> Iterable[Diagnostic]:
    """An error for each package whose config.yaml has another code than its plugin's manifest."""
    for resource in declared.values():
        owner = declared.get(resource.depends_on[0]) if resource.depends_on else None
        if owner is None or resource.source is None:
            continue
        config, positions = context.read_config_or_empty_reporting_once(resource.source)
        manifest_code, package_code = owner.spec.get("code"), config.get("code")
        if manifest_code is not None and package_code is not None and manifest_code != package_code:
            code_position = positions.get(("code",))
            yield error_finding(
                "Manifest and package disagree",
                f"{owner.address} has code {manifest_code} ({owner.find_position(('code',))}), "
                f"but `code` is {format_unless_it_holds_secret_of_known_form(package_code)} "
                "in the package's config.yaml" + (f" ({code_position})" if code_position else ""),
                "make both the same, or release another package",
                position=resource.find_position(("plugin",)),
                address=str(resource.address),
            )


def iter_unused_overlay_findings(
    overlays: Iterable[Overlay],
    used_patterns: Collection[str],
    declared_addresses: Collection[Address],
    target: str,
    ref: str = "",
) -> Iterable[Diagnostic]:
    """Findings for overlays that matched nothing: an error for an address, a warning for a pattern.

    With `ref`, the manifests are an older commit's and may lack the address: then a warning, too.
    """
    hints = FirstHints()
    for overlay in overlays:
        if overlay.pattern in used_patterns:
            continue
        yield Diagnostic(
            Severity.WARNING if overlay.has_wildcard_pattern or ref else Severity.ERROR,
            "Overlay matches no resource",
            f"no manifest of target {target} declares {overlay.pattern}"
            + (f" in {ref}: it is passed over" if ref else ""),
            hints.suggest(overlay.pattern, map(str, declared_addresses)),
            overlay.position,
            target=target,
        )
