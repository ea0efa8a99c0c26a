"""The paths of the embedded backend's own endpoints."""

from __future__ import annotations

from synapse_apply.emulator.admin import responses
from synapse_apply.emulator.core.call import Endpoint, Responder
from synapse_apply.emulator.core.facts import Mark


def _own(
    method: str, path: str, respond: Responder, text: str, *, is_open: bool = False
) -> Endpoint:
    return Endpoint(method, path, respond, Mark.GUESSED, text, is_open=is_open)


ENDPOINTS = (
    _own("GET", "health/", responses.health, "Alive? Needs no token.", is_open=True),
    _own("GET", "state/", responses.state, "Data set, counts by kind, switches."),
    _own("GET", "switches/", responses.switches, "The chosen values."),
    _own(
        "PATCH",
        "switches/",
        responses.change_switches,
        "Choose others: `{name: value}`; `profile`: all of one.",
    ),
    _own("GET", "clock/", responses.clock, "The server's time: its `Date`, its jobs."),
    _own("PATCH", "clock/", responses.set_clock, "Move it: `{ahead: seconds}`."),
    _own("GET", "faults/", responses.faults, "The fault rules and their counts (docs/faults.md)."),
    _own("PUT", "faults/", responses.change_faults, "Put others in force: `{rules: [...]}`."),
    _own("GET", "requests/", responses.requests, "The last requests, counts by method and path."),
    _own("DELETE", "requests/", responses.forget_requests, "Forget them."),
    _own("POST", "jobs/fail-next/", responses.fail_next_jobs, "Let the next `{count}` jobs fail."),
    _own("GET", "packages/{id}/", responses.package, "The bytes of a release's package."),
    _own("GET", "objects/{kind}/", responses.objects, "All objects of a kind, of all tenants."),
    _own("POST", "objects/{kind}/", responses.create_object, "Store an object as it is."),
    _own("GET", "objects/{kind}/{id}/", responses.read_object, "One object as it is stored."),
    _own("PATCH", "objects/{kind}/{id}/", responses.edit_object, "An edit from outside."),
    _own("DELETE", "objects/{kind}/{id}/", responses.delete_object, "A deletion from outside."),
)
