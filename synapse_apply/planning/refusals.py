"""The words of refusals: why something cannot be done, and every way out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from synapse_apply.kinds.descriptor import Binding
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path, Position, pointer
from synapse_apply.model.observed import FoundBy
from synapse_apply.model.plan import Cause, FieldChange, Refusal
from synapse_apply.model.state import Intent
from synapse_apply.model.verification import RUN
from synapse_apply.planning.situation import Item

_SHOWN = 5
FIXED = "fixed"


def dotted(path: Path) -> str:
    """A field as people write it: `configuration.quality`."""
    return ".".join(str(part) for part in path)


def listing(names: Iterable[object]) -> str:
    """A few names, and how many more there are."""
    texts = [str(name) for name in names]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _place(item: Item, paths: Sequence[Path]) -> Position | None:
    return item.desired.place(paths[0]) if item.desired and paths else None


def _accept(item: Item) -> str:
    """How to make the live value the declared one; an object without record is imported first."""
    observed = item.sighting.observed
    first = ""
    if item.record is None and observed is not None:
        first = f"`synapse-apply import {item.address} {observed.remote_id}` and "
    accept = f"`synapse-apply state accept {item.address}`"
    return f"change it in the product, then {first}{accept}"


def _ignore(paths: Sequence[Path]) -> str:
    return f"leave it as it is: lifecycle.ignore_changes: [{listing(map(pointer, paths))}]"


def changed_since(secrets: Iterable[tuple[Address, Binding]]) -> str:
    """The way out of another state key and another value at once, as far as the API has one."""
    sent: list[Address] = []
    fixed: list[Address] = []
    for address, binding in secrets:
        (fixed if binding.update is None else sent).append(address)
    ways = []
    if sent:
        ways.append(f"`synapse-apply apply --resend-secrets --only {_one(sent)}` sends it")
    if fixed:
        accept = f"`synapse-apply state accept {_one(fixed)}`"
        ways.append(f"bring it to the product, then {accept}")
    return "; ".join(ways)


def _one(addresses: Sequence[Address]) -> str:
    """The address of a command that is printed once for all of them."""
    return str(addresses[0]) if len(addresses) == 1 else "ADDRESS"


def was_given(item: Item) -> bool:
    """Whether the object is only known by an id that somebody gave: pinned, or imported."""
    if item.sighting.observed is None or item.sighting.found_by is FoundBy.KEY:
        return False
    return not (item.record is not None and item.record.applied)


def is_fixed(item: Item, path: Path) -> bool:
    """Whether this API can never change this field of an object that exists."""
    return item.type.is_fixed(item.binding, path[0])


def is_sealed_field(item: Item, path: Path) -> bool:
    """Whether nothing takes this field back once it is set, in the product neither."""
    return item.binding.seal is not None and path == (item.binding.seal.name,)


def take_over(item: Item) -> str:
    """How to declare what is live."""
    return f"`synapse-apply drift --accept {item.address}`"


def _first_ways(item: Item, changes: Sequence[FieldChange], *, writable: bool) -> tuple[str, ...]:
    """What makes the files say what is live: the way out that needs no other tool.

    Where only the live side moved there is nothing in Git to take back.
    """
    names = listing(dotted(change.path) for change in changes)
    causes = {change.cause for change in changes}
    if causes == {Cause.DRIFT}:
        return (f"take it into the manifest: {take_over(item)}",) if writable else ()
    if causes <= {Cause.NONE}:
        return (f"declare {names} as it is live",)
    return (f"take the change of {names} back in Git",)


def _ways_by_hand(item: Item, changes: Sequence[FieldChange]) -> tuple[str, ...]:
    """What somebody does in the product; none where that cannot change it either."""
    if any(is_sealed_field(item, change.path) for change in changes):
        return ()
    if {change.cause for change in changes} == {Cause.DRIFT}:
        accept = f"`synapse-apply state accept {item.address}`"
        return ("change it back in the product", f"leave both sides as they are: {accept}")
    return (_accept(item),)


def fixed(item: Item, changes: Sequence[FieldChange], *, writable: bool = False) -> Refusal:
    """Fields that never change once the object exists, or a kind this API cannot update.

    `writable`: what is live of them can be written into the manifest.
    """
    paths = [change.path for change in changes]
    here = [item.binding.immutable.get(str(path[0]), "") for path in paths]
    hints = [item.type.rule(path).fixed_hint for path in paths if path[0] in item.type.rules]
    if item.binding.update is None:
        hints.insert(0, item.type.update_hint)
    hint = next((text for text in (*here, *hints, item.type.update_hint) if text), "")
    new = "a new version" if item.type.series else "a new name"
    by_id = (f"if it is the wrong object: {_correct_id(item)}",) if was_given(item) else ()
    return Refusal(
        FIXED,
        f"{listing(map(dotted, paths))} cannot be changed: "
        f"{hint or f'API {item.binding.api} has no update for this kind'}",
        (
            *_first_ways(item, changes, writable=writable),
            *_ways_by_hand(item, changes),
            _ignore(paths),
            f"declare it under {new}",
            *by_id,
        ),
        _place(item, paths),
    )


def no_reset(item: Item, paths: Sequence[Path]) -> Refusal:
    """Fields that were applied, are no longer declared, and have no value to go back to."""
    return Refusal(
        "no-reset",
        f"{listing(map(dotted, paths))} was applied and is no longer declared, and there is no "
        "value it could be reset to",
        (
            f"take the change back in Git: declare {listing(map(dotted, paths))} again",
            _accept(item),
            _ignore(paths),
        ),
        _place(item, paths),
    )


def secret_would_be_cleared(
    item: Item, paths: Sequence[Path], changes: Sequence[FieldChange], *, writable: bool = False
) -> Refusal:
    """An update that replaces the whole object would lose secrets we cannot send."""
    return Refusal(
        "secret-cleared",
        f"an update sends the whole object and would clear {listing(map(dotted, paths))}, "
        "a secret that is never read back to be sent again",
        (
            *_first_ways(item, changes, writable=writable),
            f"declare {listing(map(dotted, paths))} with valueFrom env or file",
            *_ways_by_hand(item, changes),
        ),
        _place(item, paths),
    )


def held_secret(item: Item, paths: Sequence[Path]) -> Refusal:
    """An update that replaces the whole object would undo drift of a secret that is to be kept."""
    names = listing(map(dotted, paths))
    return Refusal(
        "held-secret",
        f"{names} was changed outside and is kept (on_drift: hold), but an update sends the whole "
        "object, and a secret is never read back to be sent again",
        (
            f"`synapse-apply apply --only {item.address} --revert-drift` sends the declared one",
            f"bring the new value to where {names} is read from, then plan again",
        ),
        _place(item, paths),
    )


def no_live_secret(item: Item, paths: Sequence[Path]) -> Refusal:
    """`valueFrom: {live: true}` on an object that is to be created."""
    return Refusal(
        "no-live-secret",
        f"{listing(map(dotted, paths))} keeps the live value, but there is no live value to keep: "
        "the object does not exist",
        (
            f"give {listing(map(dotted, paths))} a valueFrom env or file",
            f"if it does exist: `synapse-apply import {item.address} ID`",
        ),
        _place(item, paths),
    )


def no_package(item: Item) -> Refusal:
    """A create that uploads a package, and no package of ours."""
    source = item.desired.source if item.desired else None
    given = f"`source: {source.kind}`" if source else "the manifest"
    return Refusal(
        "no-package",
        f"the server has no {item.address} and {given} gives no bytes to publish",
        ("name a folder, a Git ref or a zip as its source", "publish it, then plan again"),
        (source.position if source else None) or (item.desired.position if item.desired else None),
    )


def sealed(item: Item) -> Refusal:
    """An object that was sealed for good and is gone: the server takes no second one."""
    name = item.binding.seal.name if item.binding.seal else ""
    new = item.type.version if item.type.series else "name"
    return Refusal(
        "sealed",
        f"it was {name} and is gone: API {item.binding.api} takes no second {item.type.prefix} "
        f"with its {new}",
        (
            f"declare it under a new {new}",
            "take it out of the manifests, if nothing needs it any more",
        ),
        _place(item, [(new,)]),
    )


def loss_of_sealed(item: Item) -> str:
    """What is lost for good with a sealed object that is deleted."""
    record = item.record
    digest = record.digest if record is not None else None
    content = f", and its content {digest}, if nothing else has it," if digest else ""
    remote_id = item.sighting.observed.remote_id if item.sighting.observed else ""
    new = item.type.version if item.type.series else "name"
    return (
        f"{item.address} (id {remote_id}){content} is lost for good: API {item.binding.api} takes "
        f"no second {item.type.prefix} with its {new}"
    )


def loses_sealed(item: Item) -> Refusal:
    """Deletion of an object that was sealed: it can never be made again."""
    name = item.binding.seal.name if item.binding.seal else ""
    return Refusal(
        "delete-sealed",
        f"it is {name}. Deleted, {loss_of_sealed(item)}",
        (
            "take the change back in Git: declare it again",
            f"keep the object and stop managing it: `synapse-apply state rm {item.address}`",
            "if the loss is meant: `synapse-apply apply --prune --allow-locked`",
        ),
    )


def not_taken(item: Item, names: Sequence[str]) -> Refusal:
    """Values that an object may have, and that nothing can be made with on this API version."""
    takes = "; ".join(f"{name}: {item.binding.takes[name].words}" for name in names)
    return Refusal(
        "not-taken",
        f"API {item.binding.api} makes no {item.type.prefix} with this {listing(names)}. "
        f"It takes {takes}",
        (
            f"declare another {listing(names)}",
            f"if it is there already: `synapse-apply import {item.address} ID`",
        ),
        _place(item, [(name,) for name in names]),
    )


def not_ours(item: Item) -> Refusal:
    """An object that everybody sees and only the platform changes."""
    return Refusal(
        "not-ours",
        f"this {item.type.prefix} is the platform's own, not yours: it is never taken over",
        ("take it out of the manifests", "declare one of your own, under another name and code"),
        item.desired.position if item.desired else None,
    )


def unreleased(item: Item, text: str) -> Refusal:
    """Changed content under a published version, where the policy refuses it."""
    return Refusal(
        "unreleased-source",
        f"{item.address} has {text}",
        (
            "take the change back in Git",
            "release it: raise the version",
            "or set policy.unreleased_source: note",
        ),
        _place(item, [(item.type.version,)]),
    )


def other_object(item: Item, names: Sequence[str]) -> Refusal:
    """The recorded id now belongs to an object whose immutable identity differs."""
    remote_id = item.record.remote_id if item.record else ""
    return Refusal(
        "other-object",
        f"id {remote_id} is another object than the one recorded: its {listing(names)} differs",
        (
            "check that url and tenant are those this state belongs to",
            f"`synapse-apply state rm {item.address}`, then plan again",
            f"`synapse-apply import {item.address} ID` with the id of the right object",
        ),
        item.desired.position if item.desired else None,
    )


def wrong_id(item: Item, paths: Sequence[Path]) -> Refusal:
    """An id that somebody gave leads to an object that cannot be the one declared."""
    remote_id = item.sighting.observed.remote_id if item.sighting.observed else ""
    names = listing(map(dotted, paths))
    return Refusal(
        "other-object",
        f"id {remote_id} is another object than the one declared: its {names} differs, which "
        "never changes",
        (_correct_id(item), f"if it is the right one: declare {names} as it is live"),
        _place(item, paths),
    )


def _correct_id(item: Item) -> str:
    at = item.address
    if item.record is None:
        return "correct `metadata.id` in the manifest"
    pin = ", correct `metadata.id`" if item.desired and item.desired.remote_id else ""
    return (
        f"correct the id: `synapse-apply state rm {at}`{pin}, then `synapse-apply import {at} ID` "
        "with the right one"
    )


def other_space(item: Item) -> Refusal:
    """An id that a manifest names leads to another object since the API version changed."""
    record = item.record
    before, api = (record.natural_key, record.api) if record else ("", "")
    return Refusal(
        "other-space",
        f"on API {api} this was {before}, and with API {item.binding.api} it would be "
        f"{item.natural_key}: ids of two versions are not one space",
        (
            f"name what it belongs to by its manifest, or by its id of API {item.binding.api}",
            f"if it is another object on purpose: `synapse-apply state rm {item.address}`",
        ),
        item.desired.position if item.desired else None,
    )


def renamed(item: Item, old: Address, new: Address) -> Refusal:
    """A new address declares the object that is recorded under one no longer declared.

    `old` and `new` are its own, or those of its owner, whose rename brings its own about.
    """
    what = f"the object recorded as {old}" if new == item.address else f"recorded as part of {old}"
    return Refusal(
        "renamed",
        f"this is {what}, which is no longer declared: a rename",
        (
            f"`synapse-apply state mv {old} {new}`",
            f"in the project file, for every target: moved: [{{from: {old}, to: {new}}}]",
        ),
        item.desired.position if item.desired else None,
    )


def prevent_destroy(item: Item) -> Refusal:
    """Deletion of a protected object; protection is recorded and outlives the manifest."""
    return Refusal(
        "prevent-destroy",
        "lifecycle.prevent_destroy protects it, also after its manifest is gone",
        (
            "declare it again with prevent_destroy: false, apply, then remove it",
            f"keep the object and stop managing it: `synapse-apply state rm {item.address}`",
        ),
    )


WAITS = "`synapse-apply apply --wait` waits for it, and then goes on"
_OTHER_RUN = "other-run"
_AFTER_IT = ("plan again when the other run has ended",)


def made_meanwhile(item: Item) -> Refusal:
    """An object without record, found while another run is making objects."""
    return Refusal(
        _OTHER_RUN,
        f"id {item.sighting.observed.remote_id if item.sighting.observed else ''} has its name "
        "and is not recorded: the run that is under way may have just made it",
        _AFTER_IT,
    )


def call_under_way(intent: Intent, *, new: bool = False) -> Refusal:
    """A call that another run sent, or is about to settle. `new` as for `outcome_unknown`."""
    call = f"{intent.verb} of {intent.address}, which may be this object," if new else intent.verb
    return Refusal(
        _OTHER_RUN,
        f"{call} was sent at {intent.sent_at or 'an unknown time'}, and the run that is under way "
        "has not recorded how it ended",
        _AFTER_IT,
    )


def outcome_unknown(
    intent: Intent, settles_in: float | None = None, told: str = "", *, new: bool = False
) -> Refusal:
    """An earlier call that may or may not have been acted on, and no way to look it up yet.

    Where waiting settles it, that is all there is to do: saying "it was not done" too early would
    make a second one. The same goes for `told`, the way out where a run kept in a file that it
    was done. `new`: it is another address that is refused, where it may have made the object.
    """
    call = f"{intent.verb} of {intent.address}, which may be this object," if new else intent.verb
    if told:
        return Refusal(
            "outcome-unknown",
            f"an earlier {call} was done, and the state does not know of it yet",
            (told,),
            outcome_unknown=True,
        )
    if settles_in is not None:
        return Refusal(
            "outcome-unknown",
            f"an earlier {call} was sent at {intent.sent_at}, and it is too early to tell "
            "whether the server acted on it",
            (f"run again in {math.ceil(settles_in)} s: it is looked up then", WAITS),
            outcome_unknown=True,
        )
    settle = f"synapse-apply state settle {intent.address}"
    if intent.verb == RUN:
        ways = (f"if it has a job: `{settle} --job ID`", f"if it has none: `{settle} --absent`")
    else:
        ways = (
            f"if it is there: `synapse-apply import {intent.address} ID`",
            f"if it is not: `{settle} --absent`",
        )
    return Refusal(
        "outcome-unknown",
        f"an earlier {call} was sent at {intent.sent_at or 'an unknown time'} and nobody "
        "can tell whether the server acted on it",
        ways,
        outcome_unknown=True,
    )
