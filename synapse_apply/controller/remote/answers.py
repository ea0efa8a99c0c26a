"""What is told of answers of a controller's API: how a target stands, what a row changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from synapse_apply.controller.api_types import (
    OddAnswerError,
    Run,
    TargetList,
    fields_of_kind,
    read_value,
)
from synapse_apply.controller.rows import RunCause, TargetCondition
from synapse_apply.controller.settings import Mode
from synapse_apply.model.address import matches_selector
from synapse_apply.model.diagnostic import FieldPath, parse_json_pointer
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.grammar import format_byte_size

# For which a look or an apply is due at once; the other causes are those of a later time.
_CAUSES_OF_NOW = frozenset({RunCause.ASKED, RunCause.PUSH, RunCause.APPROVED, RunCause.APPLIED})
_SENSITIVE, _UNKNOWN = "(sensitive)", "(known after apply)"


class ShownField(NamedTuple):
    """A field that a row changes, and both values as JSON; "" for none.

    Its package and the run that verifies it, too, under `package` and `verify`.
    """

    path: FieldPath
    before: str
    after: str


@frozen
class ShownTarget:
    """A target as the controller shows it; `item` is all of it, as it was answered.

    `is_settled` says that nothing is done with it, due, or asked for, of its source neither.
    `source_findings` are what is wrong with its source.
    """

    item: Mapping[str, Any]
    state: TargetCondition
    mode: Mode
    is_settled: bool
    source_findings: tuple[Mapping[str, Any], ...] = ()


def matches_target(selector: str, item: Mapping[str, Any]) -> bool:
    """Whether a target of a list meets a selector, such as `acme/prod-*` or `tier=gold`."""
    return matches_selector(selector, item["name"], item.get("labels") or {}, fnmatchcase)


def tell_target(listed: TargetList, fields: Mapping[str, Any], name: str) -> ShownTarget | None:
    """The target `name`, the only one of a TargetList; None for an empty one.

    `fields` are the list as it was answered. OddAnswerError, also for another target or several.
    """
    if not listed.items:
        return None
    target, item = listed.items[0], fields["items"][0]
    if len(listed.items) > 1 or target.name != name:
        raise OddAnswerError("name")
    own_source = read_value(str, item.get("source"), "source")
    cause = read_value(RunCause, target.due_cause, "due_cause")
    is_claimed = read_value(bool, item.get("is_claimed"), "is_claimed")
    is_current = all(source.is_up_to_date for source in listed.sources if source.name == own_source)
    return ShownTarget(
        item,
        target.state,
        read_value(Mode, target.mode, "mode"),
        is_settled=not is_claimed and cause not in _CAUSES_OF_NOW and is_current,
        source_findings=tuple(
            entry for entry in fields.get("source_findings") or () if entry["source"] == own_source
        ),
    )


@frozen
class _Package:
    source: str = ""
    digest: str = ""
    files: int = 0
    size: int = 0


@frozen
class _Field:
    path: str
    before: Any = None
    after: Any = None
    sensitive: Any = None
    known: Any = True


@frozen
class _Change:
    """A row of a plan. `fields` is None where there are none: so it is of what is created."""

    address: str
    change: Mapping[str, Any]
    fields: tuple[_Field, ...] | None = None
    package: _Package | None = None


@frozen
class _Verification:
    """What a release is run with."""

    address: str
    run: Any = None
    timeout: Any = None
    on_failure: Any = None

    @property
    def shown_field(self) -> ShownField:
        facts = {"run": self.run, "timeout": self.timeout, "on_failure": self.on_failure}
        return ShownField(("verify",), "", _format_value(facts))


def planned_fields(run: Any) -> dict[str, tuple[ShownField, ...]]:
    """The fields that each row of a Run's plan changes, by address; OddAnswerError.

    Of an object that is created all that it gets; of a release also the run that verifies it.
    Nothing for a run whose plan is not kept.
    """
    plan = read_value(Mapping[str, Any] | None, fields_of_kind(Run, run).get("plan"), "plan")
    if plan is None:
        return {}
    changes = read_value(tuple[_Change, ...], plan.get("resource_changes"), "plan")
    verifications = read_value(tuple[_Verification, ...], plan.get("verifications", []), "plan")
    run_of = {one.address: [one.shown_field] for one in verifications}
    return {
        change.address: (*_iter_fields(change), *run_of.get(change.address, ()))
        for change in changes
    }


def _iter_fields(change: _Change) -> Iterator[ShownField]:
    if package := change.package:
        files, size = format_count_and_noun(package.files, "file"), format_byte_size(package.size)
        parts = (package.source, files, size, package.digest)
        yield ShownField(("package",), "", ", ".join(filter(None, parts)))
    both = change.change
    if both.get("before") is None and both.get("after") is not None:
        sensitive = both.get("after_sensitive")
        yield from _iter_created(both["after"], sensitive, both.get("after_unknown"), ())
        return
    if change.fields is None:
        raise OddAnswerError("fields")
    for field in change.fields:
        try:
            path = parse_json_pointer(field.path)
        except ValueError:
            raise OddAnswerError("path") from None
        if field.sensitive is not False:
            yield ShownField(path, _SENSITIVE, _SENSITIVE)
        else:
            after = _format_value(field.after) if field.known else _UNKNOWN
            yield ShownField(path, _format_value(field.before), after)


def _iter_created(
    value: Any, sensitive: Any, unknown: Any, path: FieldPath
) -> Iterator[ShownField]:
    """The leaves of what is created; a mark of the same shape hides all that is below it."""
    if sensitive is True or unknown is True:
        yield ShownField(path, "", _SENSITIVE if sensitive is True else _UNKNOWN)
        return
    unknown_keys = unknown if isinstance(unknown, dict) else {}
    sensitive_keys = sensitive if isinstance(sensitive, dict) else {}
    if not isinstance(value, dict) or not value:
        yield ShownField(path, "", _format_value(value))
        return
    for key in sorted({*value, *unknown_keys}):
        yield from _iter_created(
            value.get(key), sensitive_keys.get(key), unknown_keys.get(key), (*path, key)
        )


def _format_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
