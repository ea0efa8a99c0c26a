"""Paths of the server's own: its switches, clock, faults, log, and objects as they are stored."""

from __future__ import annotations

import functools
import importlib.metadata

from synapse_apply.emulator.core.backend import PROFILE_SETTING, format_iso
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint, Responder
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    ApiError,
    FactSource,
    build_bad_request_error,
    build_conflict_error,
    build_not_found_error,
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


def read_health(request: EmulatorRequest) -> EmulatorAnswer:
    """Status, data set id, version of this program, and API versions."""
    return EmulatorAnswer(
        {
            "status": "ok",
            "data_set": request.backend.store.data_set,
            "version": _read_version(),
            "api_versions": API_VERSIONS,
        }
    )


# Tests poll the health check, and the metadata is read from disk.
@functools.cache
def _read_version() -> str:
    try:
        return importlib.metadata.version("synapse-apply")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def read_data_set_state(request: EmulatorRequest) -> EmulatorAnswer:
    """Data set id, number of objects by kind, profile, and values of all switches."""
    store = request.backend.store
    return EmulatorAnswer(
        {
            "data_set": store.data_set,
            "counts": {kind: store.count(kind, ObjectQuery()) for kind in KINDS},
            "profile": request.backend.profile,
            "switches": request.backend.switches.as_dict(),
        }
    )


def _require_kind_in_path(request: EmulatorRequest) -> Kind:
    """The kind in the path. Raises ApiError (404) for an unknown one."""
    kind = request.path["kind"]
    if kind not in KINDS:
        raise build_not_found_error(f"There is no kind {kind}; there are: {', '.join(KINDS)}.")
    return kind


def _require_any_object(request: EmulatorRequest, kind: Kind) -> StoredObject:
    """The object with the id in the path, of any tenant. Raises ApiError (404)."""
    text = request.path["id"]
    is_id = text.isdecimal() and len(text) < 20
    row = request.backend.store.find_by_id(kind, int(text)) if is_id else None
    if row is None:
        raise build_not_found_error()
    return row


def _build_stored_object_json(row: StoredObject) -> AnswerObject:
    return {
        "id": row.id,
        "tenant": row.tenant,
        "key": row.key,
        "parent": row.parent,
        "created": row.created,
        "body": row.body,
    }


def list_all_objects(request: EmulatorRequest) -> EmulatorAnswer:
    rows = request.backend.store.select(_require_kind_in_path(request), ObjectQuery())
    return EmulatorAnswer(
        {"count": len(rows), "results": [_build_stored_object_json(row) for row in rows]}
    )


def read_any_object(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(
        _build_stored_object_json(_require_any_object(request, _require_kind_in_path(request)))
    )


def create_object_unchecked(request: EmulatorRequest) -> EmulatorAnswer:
    """Store `{body, tenant?, key?, parent?}` without validation. Raises ApiError (400, 409)."""
    values = request.body.values
    backend = request.backend
    if not isinstance(values.get("body"), dict):
        raise build_bad_request_error("body must be an object")
    try:
        row = backend.store.insert(
            _require_kind_in_path(request),
            str(values.get("tenant") or request.tenant),
            values["body"],
            created=backend.clock.now(),
            key=values.get("key"),
            parent=values.get("parent"),
        )
    except DuplicateKeyError:
        raise build_conflict_error("The key is taken.") from None
    return EmulatorAnswer(_build_stored_object_json(row), 201)


def edit_object_unchecked(request: EmulatorRequest) -> EmulatorAnswer:
    """Replace the sent fields of a stored object, without validation, as an outside edit.

    Its key follows from the new code or version. Raises ApiError (404, 409).
    """
    kind = _require_kind_in_path(request)
    row = _require_any_object(request, kind)
    body = {**row.body, **request.body.values}
    if kind != "job":
        body["modified"] = request.backend.clock.now()
    # Real edits change the key with the field that it is made of, and so does this one.
    key = body.get("code") if kind == "plugin" else row.key
    # The natural key of a release is PLUGIN_ID@VERSION, that of a plugin its code.
    if kind == "release":
        key = f"{row.parent}@{body['version']}"
    try:
        return EmulatorAnswer(
            _build_stored_object_json(request.backend.store.replace(kind, row, body, key=key))
        )
    except DuplicateKeyError:
        raise build_conflict_error("The key is taken.") from None


def delete_any_object(request: EmulatorRequest) -> EmulatorAnswer:
    """Delete a stored object, whatever refers to it: an outside deletion."""
    kind = _require_kind_in_path(request)
    request.backend.store.delete(kind, _require_any_object(request, kind).id)
    return EmulatorAnswer(None, 204)


def delete_all_objects(request: EmulatorRequest) -> EmulatorAnswer:
    """Delete every stored object of a kind, of all tenants; ids of deleted ones are not reused."""
    request.backend.store.delete_all(_require_kind_in_path(request))
    return EmulatorAnswer(None, 204)


def list_requests(request: EmulatorRequest) -> EmulatorAnswer:
    """The last logged requests, and the number of requests by method and route."""
    log = request.backend.request_log
    return EmulatorAnswer({"counts": dict(log.counts), "last": list(log.recent_entries)})


def clear_request_log(request: EmulatorRequest) -> EmulatorAnswer:
    """Clear the request log and its counters."""
    request.backend.request_log.clear()
    return EmulatorAnswer(None, 204)


def list_switches(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(request.backend.switches.as_dict())


def change_switches(request: EmulatorRequest) -> EmulatorAnswer:
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
        raise build_bad_request_error(str(error)) from None
    return list_switches(request)


def list_faults(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(request.backend.fault_schedule.as_dict())


def replace_fault_rules(request: EmulatorRequest) -> EmulatorAnswer:
    """Replace all fault rules; their counters start at 0. Raises ApiError (400)."""
    try:
        request.backend.fault_schedule.replace_rules(request.body.values)
    except FaultsError as error:
        raise build_bad_request_error(str(error)) from None
    return list_faults(request)


def fail_next_jobs(request: EmulatorRequest) -> EmulatorAnswer:
    """Let the next `count` runs (default 1) fail. Raises ApiError (400)."""
    count = request.body.values.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ApiError(400, {"count": ["A whole number of jobs is wanted."]})
    request.backend.jobs_to_fail = count
    return EmulatorAnswer({"count": count})


def read_clock(request: EmulatorRequest) -> EmulatorAnswer:
    """The server's time, and how many seconds it is ahead of the machine's."""
    data_set_clock = request.backend.clock
    return EmulatorAnswer({"now": format_iso(data_set_clock.now()), "ahead": data_set_clock.ahead})


def set_clock_offset(request: EmulatorRequest) -> EmulatorAnswer:
    """Set how many seconds the server's clock is ahead of the machine's. Raises ApiError (400)."""
    ahead = request.body.values.get("ahead")
    if (
        isinstance(ahead, bool)
        or not isinstance(ahead, int | float)
        or abs(ahead) > _CENTURY_SECONDS
    ):
        raise ApiError(400, {"ahead": ["A number of seconds is wanted, of a century at most."]})
    request.backend.clock.ahead = float(ahead)
    return read_clock(request)


def send_any_package(request: EmulatorRequest) -> EmulatorAnswer:
    """Send the package of a tenant's release. Raises ApiError (404)."""
    text = request.path["id"]
    row = (
        request.backend.store.find_by_id("release", int(text), request.tenant)
        if text.isdecimal() and len(text) < 20
        else None
    )
    stored_package = row.body.get("package") if row else None
    file = request.backend.packages_folder / stored_package["sha256"] if stored_package else None
    # A link in its place may have been committed and could lead anywhere.
    if file is None or file.is_symlink():
        raise build_not_found_error()
    return EmulatorAnswer(None, headers={"Content-Type": "application/zip"}, file=file)


def _build_own_endpoint(
    method: str, path: str, respond: Responder, text: str, *, is_open: bool = False
) -> Endpoint:
    return Endpoint(method, path, respond, FactSource.GUESSED, text, is_open=is_open)


ENDPOINTS = (
    _build_own_endpoint("GET", "health/", read_health, "Alive? Needs no token.", is_open=True),
    _build_own_endpoint(
        "GET", "state/", read_data_set_state, "Data set, counts by kind, switches."
    ),
    _build_own_endpoint("GET", "switches/", list_switches, "The chosen values."),
    _build_own_endpoint(
        "PATCH",
        "switches/",
        change_switches,
        "Choose others: `{name: value}`; `profile`: all of one.",
    ),
    _build_own_endpoint("GET", "clock/", read_clock, "The server's time: its `Date`, its jobs."),
    _build_own_endpoint("PATCH", "clock/", set_clock_offset, "Move it: `{ahead: seconds}`."),
    _build_own_endpoint(
        "GET",
        "faults/",
        list_faults,
        "The fault rules and their counts (docs/faults.md).",
    ),
    _build_own_endpoint(
        "PUT", "faults/", replace_fault_rules, "Put others in force: `{rules: [...]}`."
    ),
    _build_own_endpoint(
        "GET", "requests/", list_requests, "The last requests, counts by method and path."
    ),
    _build_own_endpoint("DELETE", "requests/", clear_request_log, "Forget them."),
    _build_own_endpoint(
        "POST", "jobs/fail-next/", fail_next_jobs, "Let the next `{count}` jobs fail."
    ),
    _build_own_endpoint(
        "GET", "packages/{id}/", send_any_package, "The bytes of a release's package."
    ),
    _build_own_endpoint(
        "GET",
        "objects/{kind}/",
        list_all_objects,
        "All objects of a kind, of all tenants.",
    ),
    _build_own_endpoint(
        "POST", "objects/{kind}/", create_object_unchecked, "Store an object as it is."
    ),
    _build_own_endpoint(
        "DELETE",
        "objects/{kind}/",
        delete_all_objects,
        "Delete all objects of a kind, of all tenants.",
    ),
    _build_own_endpoint(
        "GET", "objects/{kind}/{id}/", read_any_object, "One object as it is stored."
    ),
    _build_own_endpoint(
        "PATCH", "objects/{kind}/{id}/", edit_object_unchecked, "An edit from outside."
    ),
    _build_own_endpoint(
        "DELETE", "objects/{kind}/{id}/", delete_any_object, "A deletion from outside."
    ),
)
