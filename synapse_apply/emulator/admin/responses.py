"""Answers of the embedded backend's own endpoints."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from synapse_apply.emulator.core.backend import PROFILE
from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import ApiError, bad_request, conflict, not_found
from synapse_apply.emulator.core.fault_rules import FaultsError
from synapse_apply.emulator.core.store import KINDS, DuplicateKeyError, Kind, Row, Wanted
from synapse_apply.emulator.core.switches import UnknownSwitchError

API_VERSIONS = ["v1", "v2"]
_CENTURY = 100 * 365 * 24 * 3600


def health(call: Call) -> Answer:
    return Answer(
        {
            "status": "ok",
            "data_set": call.backend.store.data_set,
            "version": _version(),
            "api_versions": API_VERSIONS,
        }
    )


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("synapse-apply")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def state(call: Call) -> Answer:
    store = call.backend.store
    return Answer(
        {
            "data_set": store.data_set,
            "counts": {kind: store.count(kind, Wanted()) for kind in KINDS},
            "profile": call.backend.profile,
            "switches": call.backend.switches.as_dict(),
        }
    )


def _kind(call: Call) -> Kind:
    kind = call.path["kind"]
    if kind not in KINDS:
        raise not_found(f"There is no kind {kind}; there are: {', '.join(KINDS)}.")
    return kind


def _row(call: Call, kind: Kind) -> Row:
    text = call.path["id"]
    row = call.backend.store.get(kind, int(text)) if text.isdecimal() else None
    if row is None:
        raise not_found()
    return row


def _raw(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "tenant": row.tenant,
        "key": row.key,
        "parent": row.parent,
        "created": row.created,
        "body": row.body,
    }


def objects(call: Call) -> Answer:
    rows = call.backend.store.select(_kind(call), Wanted())
    return Answer({"count": len(rows), "results": [_raw(row) for row in rows]})


def read_object(call: Call) -> Answer:
    return Answer(_raw(_row(call, _kind(call))))


def create_object(call: Call) -> Answer:
    """Store `{body, tenant?, key?, parent?}` as it is; nothing is checked."""
    values = call.body.values
    backend = call.backend
    if not isinstance(values.get("body"), dict):
        raise bad_request("body must be an object")
    try:
        row = backend.store.insert(
            _kind(call),
            str(values.get("tenant") or call.tenant),
            values["body"],
            created=backend.clock.now(),
            key=values.get("key"),
            parent=values.get("parent"),
        )
    except DuplicateKeyError:
        raise conflict("The key is taken.") from None
    return Answer(_raw(row), 201)


def edit_object(call: Call) -> Answer:
    """An outside edit: the sent fields replace the stored ones; nothing is checked."""
    kind = _kind(call)
    row = _row(call, kind)
    body = {**row.body, **call.body.values}
    if kind != "job":
        body["modified"] = call.backend.clock.now()
    key = body.get("code") if kind == "plugin" else row.key
    if kind == "release":
        key = f"{row.parent}@{body['version']}"
    try:
        return Answer(_raw(call.backend.store.replace(kind, row, body, key=key)))
    except DuplicateKeyError:
        raise conflict("The key is taken.") from None


def delete_object(call: Call) -> Answer:
    kind = _kind(call)
    call.backend.store.delete(kind, _row(call, kind).id)
    return Answer(None, 204)


def requests(call: Call) -> Answer:
    log = call.backend.requests
    return Answer({"counts": dict(log.counts), "last": list(log.last)})


def forget_requests(call: Call) -> Answer:
    call.backend.requests.clear()
    return Answer(None, 204)


def switches(call: Call) -> Answer:
    return Answer(call.backend.switches.as_dict())


def change_switches(call: Call) -> Answer:
    """Choose values of switches; with `profile`, all of that profile first, which is kept."""
    chosen = {name: str(value) for name, value in call.body.values.items()}
    profile = chosen.pop(PROFILE, None)
    try:
        if profile is None:
            call.backend.switches.update(chosen)
        else:
            call.backend.change_profile(profile, chosen)
    except UnknownSwitchError as error:
        raise bad_request(str(error)) from None
    return switches(call)


def faults(call: Call) -> Answer:
    return Answer(call.backend.faults.as_dict())


def change_faults(call: Call) -> Answer:
    """Put other rules in force, all counters at 0."""
    try:
        call.backend.faults.replace(call.body.values)
    except FaultsError as error:
        raise bad_request(str(error)) from None
    return faults(call)


def fail_next_jobs(call: Call) -> Answer:
    """The next `count` runs (1 unless sent) end as failed."""
    count = call.body.values.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ApiError(400, {"count": ["A whole number of jobs is wanted."]})
    call.backend.jobs_to_fail = count
    return Answer({"count": count})


def clock(call: Call) -> Answer:
    """The time as this server has it, and how far that is ahead of the machine's."""
    own = call.backend.clock
    return Answer({"now": iso(own.now()), "ahead": own.ahead})


def set_clock(call: Call) -> Answer:
    """Move the clock: `ahead` seconds of the machine's, or behind it where negative."""
    ahead = call.body.values.get("ahead")
    if isinstance(ahead, bool) or not isinstance(ahead, int | float) or abs(ahead) > _CENTURY:
        raise ApiError(400, {"ahead": ["A number of seconds is wanted, of a century at most."]})
    call.backend.clock.ahead = float(ahead)
    return clock(call)


def package(call: Call) -> Answer:
    """The bytes of a release's package."""
    text = call.path["id"]
    row = call.backend.store.get("release", int(text), call.tenant) if text.isdecimal() else None
    found = row.body.get("package") if row else None
    file = call.backend.packages / found["sha256"] if found else None
    if file is None or file.is_symlink():
        raise not_found()
    return Answer(None, headers={"Content-Type": "application/zip"}, file=file)
