"""What a refusal says of a call that another run has sent, or whose outcome is unknown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from synapse_apply.kinds.compare import is_made_of, is_same_value, is_server_form
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, import_text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, is_at_or_below, warning_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import (
    OTHER_RUN_RULE,
    OUTCOME_NOT_KNOWN_YET_RULE,
    Change,
    FieldChange,
    Plan,
    Refusal,
)
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Intent, IntentState
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    Mac,
    WithheldSecret,
    get_at_or_absent,
    of_two_keys,
    unflatten,
)
from synapse_apply.planning.plan_input import ResourceState

_WAIT = Command("apply --wait")
WAIT_HINT = Text(_WAIT, " waits for the call, then continues")
AFTER_OTHER_RUN = ("plan again after the other run has ended",)


def concurrent_call(intent: Intent, until: str, relation: str = "") -> Refusal:
    """The refusal for a call that another run has sent, or is about to close.

    It may act `until` a time ("": it has none); `relation` as for `outcome_unknown_refusal`.
    """
    call = f"{intent.verb} of {intent.address}{relation}" if relation else intent.verb
    return Refusal(
        OTHER_RUN_RULE,
        f"{call} was sent at {intent.sent_at or 'an unknown time'}, and the run in progress has "
        "not recorded how the call ended",
        (*AFTER_OTHER_RUN, *([f"the call may act until {until}"] if until else [])),
        outcome_unknown=True,
    )


def repeats_call(
    resource: ResourceState, call: Intent, changes: Sequence[FieldChange] | None = None
) -> bool:
    """Whether an update of a resource sends again what an earlier call sent of what is declared.

    A PATCH has sent whole top-level fields: of these only those of `changes` count, if given.
    """
    declared = {
        path: value.mac if isinstance(value, DesiredSecret) else value
        for path, value in resource.declared_fields.items()
        if not is_at_or_below(path, resource.ignored)
        and not (isinstance(value, DesiredSecret) and value.mac is None)
    }
    seal, binding = resource.binding.final_call, resource.type.bindings.get(call.api)
    if seal is not None and call.verb != seal.verb and declared.get((seal.name,)) is True:
        del declared[(seal.name,)]
    sent = call.fields
    is_patch = binding is not None and binding.update_mode is UpdateMode.PATCH
    names = {path[0] for path in (*sent, *call.before)}
    if names and (is_patch or (seal is not None and call.verb == seal.verb)):
        if changes is not None:
            names &= {change.path[0] for change in changes}
        declared = {path: value for path, value in declared.items() if path[0] in names}
        sent = {path: value for path, value in sent.items() if path[0] in names}
    return (
        call.verb in {"update", seal.verb if seal is not None else ""}
        and declared.keys() == sent.keys()
        and all(is_same_value(value, sent[path]) for path, value in declared.items())
    )


def acting_call(
    resource: ResourceState, changes: Sequence[FieldChange] | None = None, digest: str = ""
) -> tuple[Refusal, ...]:
    """The refusal of an update while an earlier one, with other values, may still act.

    `digest` is that of a package that is to be sent, with no changes of fields. Without `changes`
    it is that of forgetting the object: nobody would know of the call any more.
    """
    deed, seal = "act and overwrite a newer change", resource.binding.final_call
    is_sealed = seal is not None and resource.live_fields.get((seal.name,)) is True
    if not (changes or digest):
        deed = "act, and no record would show it once this is forgotten"
    # The one that may act longest is told of.
    for call, until, _ in resource.acting:
        is_blocking = changes is None or (
            bool(changes) and not (call.makes_another or repeats_call(resource, call, changes))
        )
        # What it would do is live, and for good.
        if is_sealed and seal is not None and call.verb == seal.verb:
            is_blocking = False
        if digest:
            is_blocking = call.digest not in {None, digest}
        if call.state is IntentState.UNKNOWN and is_blocking:
            refusal = Refusal(
                OUTCOME_NOT_KNOWN_YET_RULE,
                f"an earlier {call.verb} (sent at {call.sent_at}, outcome unknown) may still "
                f"{deed}",
                (f"plan again after {until}", WAIT_HINT),
                outcome_unknown=True,
            )
            return (refusal,)
    return ()


def with_wait_options(
    plan: Plan, options: Sequence[str] | None, addresses: Collection[str] | None = None
) -> Plan:
    """The plan, whose `apply --wait` has these options, a word each; None: it is not named.

    With `addresses` that is so of their rows alone.
    """
    command = Command(_WAIT.words, *options or ())

    def adapt(text: str) -> str:
        if options is None:
            return "" if f"`synapse-apply {_WAIT.words}" in text else text
        parts = text.parts if isinstance(text, Text) else ()
        return Text(*(command if part is _WAIT else part for part in parts)) if parts else text

    changes, diagnostics = list(plan.changes), list(plan.diagnostics)
    for number, change in enumerate(changes):
        if change.refusals and (addresses is None or str(change.address) in addresses):
            refusals = tuple(
                replace(one, ways_out=tuple(filter(None, map(adapt, one.ways_out))))
                for one in change.refusals
            )
            changes[number] = replace(change, refusals=refusals)
    for number, found in enumerate(diagnostics):
        if addresses is None or found.address in addresses:
            diagnostics[number] = replace(found, hint=adapt(found.hint))
    return replace(plan, changes=tuple(changes), diagnostics=tuple(diagnostics))


_SETTLED = {
    IntentState.DONE: ", since found done",
    IntentState.ABSENT: ", since settled as not done",
}


def acting_warnings(
    resources: Iterable[ResourceState],
    open_calls: Collection[Intent],
    changes: Mapping[Address, Change],
) -> Iterator[Diagnostic]:
    """One for each live object that an earlier call may still change from what it is now.

    Or from what an apply of `changes` leaves there. Another for each object beside which an earlier
    create may still make a second one. One of `open_calls` is sent again: what it does to declared
    fields is what is wanted.
    """
    open_ids = {call.id for call in open_calls}
    for resource in resources:
        record, told = resource.record, set[bool]()
        for call, until, beside in resource.acting:
            is_gone = resource.observed is None or _is_of_another(call, resource.observed)
            if record is None or call.makes_another in told or (is_gone and not call.makes_another):
                continue
            is_wanted = call.makes_another or call.id in open_ids
            of_ours, foreign = ([], []) if is_wanted else _fields_set_back(resource, call)
            untold = beside if isinstance(beside, str) else ""
            fields = sorted({*of_ours, *(() if isinstance(beside, str) else beside)})
            change, left = changes[resource.address], list[FieldPath]()
            if call.verb == "update" and not (is_wanted or change.is_refused):
                left = _fields_set_back_later(resource, call, [one.path for one in change.fields])
            left = [path for path in left if path not in {*fields, *foreign}]
            is_replace = call.digest not in {None, record.digest}
            is_told = fields or left or foreign or is_replace or call.verb == "delete" or untold
            if not (is_told or call.makes_another):
                continue
            is_done = call.state is IntentState.DONE
            is_settled = is_done or call.state is IntentState.ABSENT
            sides = (record.applied, record.seen, call.before, resource.live_fields)
            deeds = []
            for paths, when in ((fields, ""), (left, " after an apply")):
                was_live = is_done or all(
                    any(is_same_value(side.get(path), call.fields.get(path)) for side in sides)
                    for path in paths
                    if path in call.fields or path in call.before
                )
                names = format_short_list(map(format_field_path, paths))
                deeds += [f"would set {names}{' back' * was_live}{when}"] * bool(paths)
            names = format_short_list(map(format_field_path, foreign))
            others = f"may revert changes made to other fields since {call.sent_at}"
            may = [f"may set {names} to another value"] * bool(foreign) + [others] * bool(untold)
            if may:
                why = untold or "without the former state key"
                deeds.append(f"{' and '.join(may)}, which cannot be compared {why}")
            verb = REPLACE_VERB if call.digest else call.verb
            deed = " and ".join(deeds) if verb == "update" else f"would {verb} it"
            if call.makes_another:
                deed = "would create a second object"
            waits = Text("; ", Command("state settle --wait"), " waits for the call")
            wait = "" if is_settled else waits
            yield warning_finding(
                "An earlier call may still act",
                f"An earlier {call.verb} of {resource.address} (call {call.id} of apply "
                f"{call.plan_id}, sent at {call.sent_at}{_SETTLED.get(call.state, '')}) may "
                f"still act until {until}, and {deed}.",
                Text("Check again after that time", wait, "."),
                address=str(resource.address),
            )
            told.add(call.makes_another)


def _is_of_another(call: Intent, observed: Observed) -> bool:
    """Whether a call names another object than the live one, and so changes nothing of it."""
    is_by_name = call.verb in {CREATE_VERB, REPLACE_VERB} or call.api != observed.api
    return not is_by_name and call.remote_id not in {"", observed.remote_id}


def _fields_set_back_later(
    resource: ResourceState, call: Intent, changed: list[FieldPath]
) -> list[FieldPath]:
    """The fields that an update would change if it acted after these are set as declared."""
    ours = {*call.fields, *call.before}
    # It also sends back what nobody declared then, in each top-level field that it sends.
    names = {path[0] for path in (*ours, *call.beside)}
    beside = [
        path
        for path in changed
        if path[0] in names
        and not (is_at_or_below(path, ours) or any(is_at_or_below(one, [path]) for one in ours))
    ]
    left = {
        path: value.mac if isinstance(value, DesiredSecret) else value
        for path, value in resource.declared_fields.items()
        if is_at_or_below(path, changed)
    }
    left |= {p: v for p, v in resource.live_fields.items() if not is_at_or_below(p, changed)}
    after = replace(resource, live_fields=left, sent_beside={})
    # Digests under two salts cannot be compared.
    is_same_salt = call.salt == resource.salt
    return beside + [
        path
        for path in _fields_set_back(after, call)[0]
        if is_at_or_below(path, changed)
        and (is_same_salt or not isinstance(call.fields.get(path), Mac))
    ]


def _fields_set_back(
    resource: ResourceState, call: Intent
) -> tuple[list[FieldPath], list[FieldPath]]:
    """The fields that a call would change if it acted on the live object now.

    And the secrets that it may change, of which it has a digest under another state key.
    """
    binding, observed = resource.type.bindings.get(call.api), resource.observed
    is_whole = call.verb == "update" and binding and binding.update_mode is UpdateMode.PUT
    hidden_names = observed.missing_fields | observed.partial_fields if observed else frozenset()
    sides = [unflatten(side) for side in (call.fields, call.before, resource.live_fields)]
    record, fields, foreign = resource.record, list[FieldPath](), list[FieldPath]()
    for path in sorted({*call.fields, *call.before}):
        rule = resource.rule(path)
        sent, was, now = (get_at_or_absent(side, path) for side in sides)
        if isinstance(now, WithheldSecret) or (
            now is ABSENT and (isinstance(sent, Mac) or path[0] in hidden_names)
        ):
            # What is not shown should be what was sent last.
            now = record.applied.get(path, ABSENT) if record else ABSENT
            if record and isinstance(now, Mac) and now.digest == Mac.UNSEEN:
                later = (one for one in reversed(record.given_up) if path in one.fields)
                now = next((one.fields[path] for one in later), now)
        is_as_sent = (
            is_same_value(rule.reset_value if sent is ABSENT else sent, now, rule.compare)
            or sent is now is ABSENT
            or is_server_form(sent, now, path)
            # What the server made of the same value before, it makes of it again.
            or (record and is_made_of(sent, now, path, record.applied, record.seen))
            or (isinstance(sent, Mapping) and isinstance(now, Mapping))
            or path in resource.sent_beside.get(call.id, ())
        )
        # An update of single fields sends what it changes.
        is_sent = is_whole or not is_same_value(was, sent, rule.compare)
        # A field that this API version does not have is never seen.
        is_untold = path[0] not in resource.binding.fields or rule.packaged or rule.write_only
        if not is_sent or is_as_sent or is_untold:
            continue
        if not of_two_keys(sent, now):
            fields.append(path)
        elif record is None or not is_same_value(sent, record.applied.get(path, ABSENT)):
            foreign.append(path)
    return fields, foreign


def outcome_unknown_refusal(
    intent: Intent,
    retry: str | None = None,
    recovery_hint: str = "",
    relation: str = "",
    until: str = "",
    is_recorded: bool = False,
    is_forgotten: bool = False,
) -> Refusal:
    """The refusal for an earlier call that may have been carried out and cannot be looked up yet.

    Where waiting is enough, `retry` is the only way out: assuming too early that the call had no
    effect could create a second object. Likewise with `recovery_hint`, for a call that a recovery
    file shows as done. It may act `until` a time ("": it cannot). `relation` says, between commas,
    what the call's address is to the refused one ("": it is the same). `is_recorded`: the state has
    an object under that address, which for a create is the one before it. `is_forgotten`: it has
    the call's object under none, so that waiting would only tell to import it.
    """
    call = f"{intent.verb} of {intent.address}{relation}" if relation else intent.verb
    if recovery_hint:
        return Refusal(
            "outcome-unknown",
            f"an earlier {call} was done, and the state does not record it yet",
            (recovery_hint,),
            outcome_unknown=True,
        )
    if retry:
        import_it = import_text(intent.address, intent.remote_id, is_recorded=False)
        forgotten = Text(import_it, " records the forgotten object")
        return Refusal(
            OUTCOME_NOT_KNOWN_YET_RULE,
            f"an earlier {call} was sent at {intent.sent_at}, and it is too early to know "
            "whether the server acted on it",
            (forgotten,)
            if is_forgotten
            else (f"{retry}: the next run looks up the call", WAIT_HINT),
            outcome_unknown=True,
        )
    settle_command = Command("state settle", intent.address, "--absent")
    if intent.verb == RUN_VERB:
        ways_out = (
            Text("if the run has a job: ", Command("state settle", intent.address, "--job", "ID")),
            Text("if the run has no job: ", settle_command),
        )
    else:
        what = "its new package is" if intent.verb == REPLACE_VERB else "it is"
        remote_id, is_taken = intent.remote_id or "ID", is_recorded and intent.verb == CREATE_VERB
        import_it = import_text(intent.address, remote_id, is_recorded=is_taken)
        ways_out = (
            Text(f"if {what} there: ", import_it),
            Text(f"if {what} not: ", settle_command, until and f"; the call may act until {until}"),
        )
    return Refusal(
        "outcome-unknown",
        f"an earlier {call} was sent at {intent.sent_at or 'an unknown time'}, and it is "
        "unknown whether the server acted on it",
        ways_out,
        outcome_unknown=True,
    )
