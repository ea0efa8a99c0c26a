"""Which paths the embedded backend's own endpoints have."""

from __future__ import annotations

from synapse_apply.emulator.admin import responses
from synapse_apply.emulator.core.call import Endpoint, Responder
from synapse_apply.emulator.core.facts import FactSource


def _build_own_endpoint(
    method: str, path: str, respond: Responder, text: str, *, is_open: bool = False
) -> Endpoint:
    return Endpoint(method, path, respond, FactSource.GUESSED, text, is_open=is_open)


ENDPOINTS = (
    _build_own_endpoint(
        "GET", "health/", responses.read_health, "Alive? Needs no token.", is_open=True
    ),
    _build_own_endpoint(
        "GET", "state/", responses.read_data_set_state, "Data set, counts by kind, switches."
    ),
    _build_own_endpoint("GET", "switches/", responses.list_switches, "The chosen values."),
    _build_own_endpoint(
        "PATCH",
        "switches/",
        responses.change_switches,
        "Choose others: `{name: value}`; `profile`: all of one.",
    ),
    _build_own_endpoint(
        "GET", "clock/", responses.read_clock, "The server's time: its `Date`, its jobs."
    ),
    _build_own_endpoint(
        "PATCH", "clock/", responses.set_clock_offset, "Move it: `{ahead: seconds}`."
    ),
    _build_own_endpoint(
        "GET",
        "faults/",
        responses.list_faults,
        "The fault rules and their counts (docs/faults.md).",
    ),
    _build_own_endpoint(
        "PUT", "faults/", responses.replace_fault_rules, "Put others in force: `{rules: [...]}`."
    ),
    _build_own_endpoint(
        "GET", "requests/", responses.list_requests, "The last requests, counts by method and path."
    ),
    _build_own_endpoint("DELETE", "requests/", responses.clear_request_log, "Forget them."),
    _build_own_endpoint(
        "POST", "jobs/fail-next/", responses.fail_next_jobs, "Let the next `{count}` jobs fail."
    ),
    _build_own_endpoint(
        "GET", "packages/{id}/", responses.send_any_package, "The bytes of a release's package."
    ),
    _build_own_endpoint(
        "GET",
        "objects/{kind}/",
        responses.list_all_objects,
        "All objects of a kind, of all tenants.",
    ),
    _build_own_endpoint(
        "POST", "objects/{kind}/", responses.create_object_unchecked, "Store an object as it is."
    ),
    _build_own_endpoint(
        "DELETE",
        "objects/{kind}/",
        responses.delete_all_objects,
        "Delete all objects of a kind, of all tenants.",
    ),
    _build_own_endpoint(
        "GET", "objects/{kind}/{id}/", responses.read_any_object, "One object as it is stored."
    ),
    _build_own_endpoint(
        "PATCH", "objects/{kind}/{id}/", responses.edit_object_unchecked, "An edit from outside."
    ),
    _build_own_endpoint(
        "DELETE", "objects/{kind}/{id}/", responses.delete_any_object, "A deletion from outside."
    ),
)
