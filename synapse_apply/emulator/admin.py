"""Paths of the server's own: its switches, clock, faults, log, and objects as they are stored."""

from __future__ import annotations

import functools
import importlib.metadata

from synapse_apply.emulator import releases
from synapse_apply.emulator.core.backend import PROFILE_SETTING, format_iso
from synapse_apply.emulator.core.call import (
    EmulatorAnswer,
    EmulatorRequest,
    parse_id,
    require_found,
)
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    is_number,
    not_found,
    refusal,
    wrong_field,
)
from synapse_apply.emulator.core.store import (
    KINDS,
    DuplicateKeyError,
    Kind,
    ObjectQuery,
    StoredObject,
)
from synapse_apply.emulator.core.switches import UnknownSwitchError
from synapse_apply.emulator.faults.rules import FaultsError

API_VERSIONS = ["v1", "v2"]
# Dates must stay within what `datetime` can represent.
_CENTURY_SECONDS = 100 * 365 * 24 * 3600


def read_health(request: EmulatorRequest) -> AnswerObject:
    """Status, data set id, version of this program, and API versions."""
    return {
        "status": "ok",
        "data_set": request.store.data_set,
        "version": _read_version(),
        "api_versions": API_VERSIONS,
    }


# Tests poll the health check, and the metadata is read from disk.
@functools.cache
def _read_version() -> str:
    try:
        return importlib.metadata.version("synapse-apply")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def read_data_set_state(request: EmulatorRequest) -> AnswerObject:
    """Data set id, number of objects by kind, profile, and values of all switches."""
    return {
        "data_set": request.store.data_set,
        "counts": {kind: request.store.count(kind, ObjectQuery()) for kind in KINDS},
        "profile": request.backend.profile,
        "switches": request.backend.switches.as_dict(),
    }


def _require_kind(request: EmulatorRequest) -> Kind:
    """The kind in the path. Raises ApiError (404) for an unknown one."""
    kind = request.path["kind"]
    if kind not in KINDS:
        raise not_found(f"Unknown kind {kind}; known: {', '.join(KINDS)}.")
    return kind


def require_object(request: EmulatorRequest) -> tuple[Kind, StoredObject]:
    """The kind in the path and its object with that id, of any tenant. Raises ApiError (404)."""
    kind = _require_kind(request)
    row = request.store.find_by_id(kind, parse_id(request.path["id"]))
    return kind, require_found(row)


def show_object(_request: EmulatorRequest, found: tuple[Kind, StoredObject]) -> AnswerObject:
    return found[1]._asdict()


def list_all_objects(request: EmulatorRequest) -> AnswerObject:
    rows = request.store.select(_require_kind(request), ObjectQuery())
    return {"count": len(rows), "results": [row._asdict() for row in rows]}


def create_object_unchecked(request: EmulatorRequest) -> AnswerObject:
    """Store `{body, tenant?, key?, parent?}` without validation. Raises ApiError (400, 409)."""
    values = request.body.values
    if not isinstance(values.get("body"), dict):
        raise refusal(400, "body must be an object")
    try:
        row = request.store.insert(
            _require_kind(request),
            str(values.get("tenant") or request.tenant),
            values["body"],
            created=request.now(),
            key=values.get("key"),
            parent=values.get("parent"),
        )
    except DuplicateKeyError:
        raise refusal(409, "The key is taken.") from None
    return row._asdict()


def edit_object_unchecked(request: EmulatorRequest) -> AnswerObject:
    """Replace the sent fields of a stored object, without validation, as an outside edit.

    Its key follows from the new code or version. Raises ApiError (404, 409).
    """
    kind, row = require_object(request)
    body = {**row.body, **request.body.values}
    if kind != "job":
        body["modified"] = request.now()
    # Real edits change the key with the field that it is made of, and so does this one.
    key = body.get("code") if kind == "plugin" else row.key
    if kind == "release":
        key = releases.build_key(row.parent or 0, body["version"])
    try:
        return request.store.replace(kind, row, body, key=key)._asdict()
    except DuplicateKeyError:
        raise refusal(409, "The key is taken.") from None


def delete_any_object(request: EmulatorRequest) -> None:
    """Delete a stored object, whatever refers to it: an outside deletion."""
    kind, row = require_object(request)
    request.store.delete(kind, row.id)


def delete_all_objects(request: EmulatorRequest) -> None:
    """Delete every stored object of a kind, of all tenants; ids of deleted ones are not reused."""
    request.store.delete_all(_require_kind(request))


def list_requests(request: EmulatorRequest) -> AnswerObject:
    """The last logged requests, and the number of requests by method and route."""
    log = request.backend.request_log
    return {"counts": dict(log.counts), "last": list(log.recent_entries)}


def clear_request_log(request: EmulatorRequest) -> None:
    """Clear the request log and its counters."""
    request.backend.request_log.clear()


def list_switches(request: EmulatorRequest) -> AnswerObject:
    return {**request.backend.switches.as_dict()}


def change_switches(request: EmulatorRequest) -> AnswerObject:
    """Set switches; with `profile`, first all values of that profile, which is stored.

    Raises ApiError (400) for an unknown switch, value or profile.
    """
    # In JSON a value may be a boolean or a number.
    chosen = {name: str(value) for name, value in request.body.values.items()}
    profile = chosen.pop(PROFILE_SETTING, None)
    try:
        if profile is None:
            request.backend.switches.update(chosen)
        else:
            request.backend.apply_and_store_profile(profile, chosen)
    except UnknownSwitchError as error:
        raise refusal(400, str(error)) from None
    return list_switches(request)


def list_faults(request: EmulatorRequest) -> AnswerObject:
    return request.backend.fault_schedule.as_dict()


def replace_fault_rules(request: EmulatorRequest) -> AnswerObject:
    """Replace all fault rules; their counters start at 0. Raises ApiError (400)."""
    try:
        request.backend.fault_schedule.replace_rules(request.body.values)
    except FaultsError as error:
        raise refusal(400, str(error)) from None
    return list_faults(request)


def fail_next_jobs(request: EmulatorRequest) -> AnswerObject:
    """Let the next `count` runs (default 1) fail. Raises ApiError (400)."""
    count = request.body.values.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise wrong_field("count", "Expected a whole number of jobs.")
    request.backend.jobs_to_fail = count
    return {"count": count}


def read_clock(request: EmulatorRequest) -> AnswerObject:
    """The server's time, and how many seconds it is ahead of the machine's."""
    return {"now": format_iso(request.now()), "ahead": request.backend.clock.ahead}


def set_clock_offset(request: EmulatorRequest) -> AnswerObject:
    """Set how many seconds the server's clock is ahead of the machine's. Raises ApiError (400)."""
    ahead = request.body.values.get("ahead")
    if not is_number(ahead) or abs(ahead) > _CENTURY_SECONDS:
        raise wrong_field("ahead", "Expected a number of seconds, at most a century.")
    request.backend.clock.ahead = float(ahead)
    return read_clock(request)


def send_any_package(request: EmulatorRequest) -> EmulatorAnswer:
    """Send the package of a tenant's release. Raises ApiError (404)."""
    return releases.send_file(request, request.find("release"))
