"""One document to one Desired: envelope, variables, overlays, schema, fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import named, plugin, release, shapes, storage
from synapse_apply.manifests.draft import Context, Draft
from synapse_apply.manifests.explain import Subject, explain
from synapse_apply.manifests.overlays import Layered, Overlay, merged, without
from synapse_apply.manifests.reader import Document, kind_of
from synapse_apply.manifests.secretfields import SENSITIVE, check_named_secret, find_marks, secured
from synapse_apply.manifests.variables import Values, substitute
from synapse_apply.manifests.wording import FILL_IN, did_you_mean, dotted
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, Lifecycle
from synapse_apply.model.diagnostic import Path, Position, error, from_pointer
from synapse_apply.model.values import Reference, leaves

API_VERSION = "synapse-apply/v1"
_MOST_LEFT_OUT = 100
# Of kinds that are not named by their metadata alone, or whose spec holds more than fields.
_ADDRESS: dict[str, Callable[[Context, Draft], Address | None]] = {
    release.PREFIX: release.address,
}
_SPEC: dict[str, Callable[[Context, Draft], dict[str, Any]]] = {
    plugin.PREFIX: plugin.spec,
    release.PREFIX: release.spec,
    storage.PREFIX: storage.spec,
}


def kinds() -> dict[str, str]:
    """The prefix of addresses by the name of each kind."""
    return {kind.kind: prefix for prefix, kind in sorted(CATALOGUE.items())}


def drafted(context: Context, document: Document, values: Values) -> Draft | None:
    """The document of a known kind with its variables replaced; None when there is none.

    Where a variable could not be, the text stays as it was written, and the draft is `broken`.
    """
    value = document.value
    draft = Draft("", value, document.positions, document, document.position)
    if not isinstance(value, dict):
        context.find(
            draft,
            (),
            "Not a manifest",
            f"this document is {kind_of(value)}, not a mapping",
            f"begin with `apiVersion: {API_VERSION}`",
        )
        return None
    schema = _kind(context, draft)
    if schema is None:
        return None
    draft.schema = schema
    if document.source.has_variables:
        draft.value = _substituted(context, draft, values)
    return draft


def _kind(context: Context, draft: Draft) -> str | None:
    version, kind = draft.value.get("apiVersion"), draft.value.get("kind")
    if version == API_VERSION:
        for prefix, one in CATALOGUE.items():
            if one.kind == kind:
                return prefix
    known = kinds()
    if version != API_VERSION:
        if version is None:
            summary, detail = "Missing field", "the document has no `apiVersion`"
        else:
            summary, detail = "Unknown apiVersion", "this version reads " + API_VERSION
        context.find(draft, ("apiVersion",), summary, detail, f"write apiVersion: {API_VERSION}")
    if kind == "Project":
        context.find(
            draft,
            ("kind",),
            "Project file among manifests",
            "kind Project stands in a manifest",
            "name the file synapse-apply.yaml and put it at the project's root",
        )
    elif not isinstance(kind, str):
        context.find(
            draft,
            ("kind",) if "kind" in draft.value else (),
            "Missing field",
            "the document has no `kind`",
            "write one of: " + ", ".join(known),
        )
    elif kind not in known:
        context.find(
            draft, ("kind",), "Unknown kind", f"`{kind}` is no kind", did_you_mean(kind, known)
        )
    return None


def _substituted(context: Context, draft: Draft, values: Values) -> Any:
    """Variables have values everywhere but in what an address is made of."""

    def report(path: Path, summary: str, detail: str, hint: str) -> None:
        told = _unrevealing(context, draft, path, detail)
        context.find(draft, path, summary, told, hint, target=context.target.name)

    fixed = {key: draft.value[key] for key in ("apiVersion", "kind") if key in draft.value}
    name, owner = draft.metadata.get("name"), draft.spec.get("plugin")
    rest = {key: value for key, value in draft.value.items() if key not in fixed}
    if isinstance(name, str):
        rest["metadata"] = {k: v for k, v in draft.metadata.items() if k != "name"}
    if isinstance(owner, str):
        rest["spec"] = {k: v for k, v in draft.spec.items() if k != "plugin"}
    result = substitute(rest, values, report, unreplaced=draft.unknown)
    if isinstance(name, str):
        result["metadata"] = {"name": name, **result["metadata"]}
    if isinstance(owner, str):
        result["spec"] = {"plugin": owner, **result["spec"]}
    return {**fixed, **result}


def _unrevealing(context: Context, draft: Draft, path: Path, detail: str) -> str:
    """What is said of a reference, without the text around it where that may be a secret."""
    if find_marks(context, draft).secret(path[1:]):
        return f"`{dotted(path)}` holds a reference that is no declared variable"
    return detail


def place_address(context: Context, draft: Draft) -> None:
    """Work out the draft's address; None stays where the schema will say why."""
    draft.address = _ADDRESS.get(draft.schema, named.address)(context, draft)


def overlaid(context: Context, draft: Draft, overlay: Overlay, values: Values) -> None:
    """Lay one overlay over the draft; an overlay that changes the address is refused."""
    prefix = overlay.prefix

    def report(path: Path, summary: str, detail: str, hint: str) -> None:
        at = overlay.positions.get((*prefix, *path), overlay.position)
        told = _unrevealing(context, draft, path, detail)
        context.find(draft, path, summary, told, hint, target=context.target.name)
        context.findings[-1] = context.findings[-1].with_(position=at)

    if not values.is_affordable(overlay.patch, f"overlay {overlay.pattern}", report, ()):
        return
    unknown: set[Path] = set()
    patch = substitute(overlay.patch, values, report, unreplaced=unknown)
    before, value = draft.address, draft.value
    positions = draft.positions
    draft.value = merged(value, patch)
    draft.positions = Layered(overlay, positions)
    place_address(context, draft)
    if draft.address != before:
        after, draft.address = draft.address, before
        draft.value, draft.positions = value, positions
        unknown.clear()
        context.findings.append(
            error(
                "Overlay changes the address",
                f"{before} would become {after or 'nothing'}",
                "change the manifest, or give the target a manifest of its own",
                position=overlay.position,
                address=str(before),
                target=context.target.name,
            )
        )
    draft.unknown |= unknown


def check(context: Context, draft: Draft) -> bool:
    """Whether the draft fits its kind's schema; reports why not, but for what is not known."""
    found = len(context.findings)
    if not shapes.validator(draft.schema).is_valid(draft.value):
        address = str(draft.address) if draft.address else None
        for finding in explain(draft.schema, _subject(context, draft)):
            if draft.is_unknown(finding.path or ()):
                continue
            overlaid_here = finding.position and finding.position.file != draft.document.source.file
            target = context.target.name if overlaid_here else None
            context.findings.append(finding.with_(address=address, target=target))
    return len(context.findings) == found


def examine_rest(context: Context, draft: Draft) -> Desired | None:
    """Report what is wrong with the known part of a draft, as `check` and `desired` do.

    Gives what that part declares, for its references alone; None where it fits no schema.
    """
    before = len(context.findings)
    one = None
    if check(context, draft) and _leave_out_unknown(context, draft):
        one = desired(context, draft)
    context.findings[before:] = [
        finding for finding in context.findings[before:] if not draft.is_unknown(finding.path or ())
    ]
    if one is None:
        return None
    spec = {name: value for name, value in one.spec.items() if not draft.is_unknown(("spec", name))}
    return replace(one, spec=spec)


def _leave_out_unknown(context: Context, draft: Draft) -> bool:
    """Take out what is not known and does not fit as it is written; whether the rest fits."""
    fits = shapes.validator(draft.schema).is_valid
    if not fits(draft.value):
        misfits = explain(draft.schema, _subject(context, draft))
        if len(misfits) > _MOST_LEFT_OUT:  # each copies what it stands in
            return False
        for finding in misfits:
            draft.value = without(draft.value, finding.path or ())
    return bool(fits(draft.value))


def _subject(context: Context, draft: Draft) -> Subject:
    source, marks = draft.document.source, find_marks(context, draft)

    def hidden(path: Path) -> bool:
        return path[:1] == ("spec",) and marks.secret(path[1:])

    def scalar_text(position: Position, value: Any) -> str:
        overlays: Iterable[Overlay] = context.target.overlays.values()
        for text in (source, *(overlay.source for overlay in overlays)):
            if text.file == position.file:
                return text.scalar_text(position, value)
        return str(value)

    return Subject(draft.value, draft.positions, hidden, scalar_text)


def desired(context: Context, draft: Draft) -> Desired | None:
    """The Desired of a draft that fits; None when its address cannot be told (reported)."""
    if draft.address is None:
        release.explain_no_address(context, draft)
        return None
    _check_filled_in(context, draft)
    spec = _SPEC.get(draft.schema, named.spec)(context, draft)
    if draft.schema not in context.marks.kinds:
        spec = secured(context, draft, spec)
    packaged = CATALOGUE[draft.schema].carries_package
    source = release.package(context, draft) if packaged else None
    if context.is_broken(source):
        return None  # reported; who inspects packages need not stumble over it again
    depends_on = tuple(value.address for value in spec.values() if isinstance(value, Reference))
    pinned = draft.metadata.get("id")
    return Desired(
        address=draft.address,
        spec=spec,
        labels=dict(draft.metadata.get("labels", {})),
        lifecycle=_lifecycle(context, draft),
        remote_id=None if pinned is None else str(pinned),
        depends_on=depends_on,
        source=source,
        verify=release.verification(context, draft),
        retain=draft.spec.get("retain"),
        position=draft.position,
        positions=draft.positions,
    )


def _check_filled_in(context: Context, draft: Draft) -> None:
    """What `new` left open would be sent as it stands, and perhaps never be changed again."""
    if not draft.document.source.has_gaps:
        return
    for path, value in leaves(draft.spec).items():
        if value == FILL_IN:
            context.find(
                draft,
                ("spec", *path),
                "Value to be filled in",
                f"`{dotted(('spec', *path))}` is still {FILL_IN}",
                "write the value, or take the line out",
            )


_PLAIN = Lifecycle()


def _lifecycle(context: Context, draft: Draft) -> Lifecycle:
    block = draft.value.get("lifecycle")
    if not block:
        return _PLAIN
    return Lifecycle(
        prevent_destroy=block.get("prevent_destroy", False),
        ignore_changes=_pointers(context, draft, block, "ignore_changes"),
        own=_pointers(context, draft, block, "own"),
        sensitive=_pointers(context, draft, block, SENSITIVE),
    )


def _pointers(
    context: Context, draft: Draft, block: Mapping[str, Any], key: str
) -> tuple[Path, ...]:
    paths: list[Path] = []
    for index, text in enumerate(block.get(key, ())):
        at = ("lifecycle", key, index)
        path = from_pointer(text)
        fields = shapes.spec_fields(draft.schema)
        if not path or path[0] not in fields:
            context.find(
                draft,
                at,
                "Pointer to nothing",
                f"`{text}` points to no field of spec",
                did_you_mean(path[0], fields)
                if path
                else "point to a field, for example /description",
            )
        elif key != SENSITIVE or check_named_secret(context, draft, path, at):
            paths.append(path)
    return tuple(paths)
