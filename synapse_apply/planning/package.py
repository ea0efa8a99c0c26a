"""Packages of kinds that carry one: published bytes never change, so a difference is a note."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.desired import Package
from synapse_apply.model.plan import Change
from synapse_apply.model.versions import next_version
from synapse_apply.planning.series import Series
from synapse_apply.planning.situation import Item


def package_extras(item: Item) -> dict[str, Any]:
    """What a create uploads: {"package": {digest, files (a count), size (bytes), source}}."""
    package = _package(item)
    if package is None:
        return {}
    return {
        "package": {
            "digest": package.digest,
            "files": len(package.files),
            "size": package.size,
            "source": str(package.source),
        }
    }


def uploaded_digest(change: Change) -> str:
    """The digest of what a row uploads; "" where it uploads nothing."""
    package = change.extras.get("package")
    digest = package.get("digest") if isinstance(package, Mapping) else None
    return digest if isinstance(digest, str) else ""


def published_digest(item: Item) -> str | None:
    """The digest of the live bytes: recorded, or told by the object itself; None if unknown."""
    if item.record is not None and item.record.digest:
        return item.record.digest
    observed = item.sighting.observed
    told = observed.extra.get("digest") if observed else None
    return told if isinstance(told, str) else None


def unreleased(item: Item, series: Series) -> str:
    """`unreleased changes (3 files; next version 1.1.1)`, or "" where there are none known."""
    package, published = _package(item), published_digest(item)
    if package is None or published is None or package.digest == published:
        return ""
    details = []
    if item.record is not None and item.record.files:
        count = _differing(item.record.files, package.files)
        details.append(f"{count} file{'' if count == 1 else 's'}")
    if upcoming := _next(item, series):
        details.append(f"next version {upcoming}")
    return "unreleased changes" + (f" ({'; '.join(details)})" if details else "")


def is_replaceable(item: Item) -> bool:
    """Whether the platform lets anybody replace the bytes: then no digest proves what is there."""
    observed = item.sighting.observed
    specs = [observed.spec] if observed is not None else []
    specs += [item.desired.spec] if item.desired is not None else []
    return any(spec.get(item.type.replaced_if) is True for spec in specs)


def unverified(item: Item) -> bool:
    """Whether an object is taken over whose bytes nobody of ours has seen, or may be others now."""
    if not item.type.carries_package:
        return False
    return published_digest(item) is None or is_replaceable(item)


def _package(item: Item) -> Package | None:
    carries = item.type.carries_package and item.desired is not None
    return item.desired.package if carries and item.desired is not None else None


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> int:
    return sum(old.get(path) != new.get(path) for path in old.keys() | new.keys())


def _next(item: Item, series: Series) -> str:
    if item.desired is None or not item.type.series:
        return ""
    name, version = item.type.place_in_series(item.desired.spec)
    members = series.get((item.address.kind, name))
    return next_version(version, members.versions if members else ())
