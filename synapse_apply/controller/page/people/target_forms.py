"""What a target's page offers its reader: pauses, windows, held rows, and forms to send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from synapse_apply.controller.page.entry.form_tokens import FormTokens
from synapse_apply.controller.page.entry.visitor import Visitor
from synapse_apply.controller.page.people.action_requests import Verb
from synapse_apply.controller.page.people.choices import NOTICES
from synapse_apply.controller.page.people.endpoints import build_form_token_purpose, notice_purpose
from synapse_apply.controller.page.people.holds import (
    HeldRowView,
    build_held_row_views,
    list_decidable_rows,
    own_approval_doubt,
)
from synapse_apply.controller.ports import RunningLoop
from synapse_apply.controller.rows import PauseRow, TargetName
from synapse_apply.controller.rules.permits import (
    WindowState,
    compute_window_state,
    is_pause_active,
)
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import FixedPause, Right, TargetRule
from synapse_apply.model.frozen import frozen

# The command and the API have the rest.
MAX_SHOWN_HOLDS = 500


@frozen
class ActivePauseView:
    """A pause of a person that holds now; `can_end` says whether the reader may end it."""

    pause: PauseRow
    can_end: bool


@frozen
class TargetForms:
    """What a reader of a target's page is told of people's part in it, and what they may do.

    `held_rows` are the first of `held_count`. `token` is "" for who may do nothing. `pause_scopes`
    are the scopes that they may pause, with their words; `notice` says what they have just done, ""
    for nothing.
    """

    rule: TargetRule | None
    rights: frozenset[Right]
    held_rows: Sequence[HeldRowView]
    held_count: int
    pauses: Sequence[ActivePauseView]
    fixed_pause: FixedPause | None
    window: WindowState | None
    token: str
    pause_scopes: Mapping[str, str]
    worth: str
    notice: str

    @property
    def can_reconcile(self) -> bool:
        return Right.RECONCILE in self.rights

    @property
    def can_pause(self) -> bool:
        return Right.PAUSE in self.rights

    @property
    def can_approve(self) -> bool:
        return Right.APPROVE in self.rights

    @property
    def has_approvable_row(self) -> bool:
        return any(row.can_be_approved for row in self.held_rows)


def read_target_forms(
    loop: RunningLoop,
    visitor: Visitor,
    name: TargetName,
    form_tokens: FormTokens,
    parameters: Mapping[str, str],
    now: float,
) -> TargetForms:
    """What the page of a target shows besides the target; `parameters` are those of its address."""
    source = loop.get_settings().sources.get(name.source)
    rule = find_rule(source, name.target) if source else None
    rights = visitor.list_rights(name) if visitor.person else frozenset()
    authors = (
        loop.list_authors_of_next_apply_none_if_unreadable(name)
        if rule is not None and rule.not_author
        else ()
    )
    is_acting = bool(rights - {Right.READ})
    holds = list_decidable_rows(visitor.store, name, now)
    pauses = [
        pause
        for pause in visitor.store.list_people_pauses_even_ended()
        if is_pause_active(pause, now) and fnmatchcase(str(name), pause.scope)
    ]
    return TargetForms(
        rule,
        rights,
        build_held_row_views(
            holds[:MAX_SHOWN_HOLDS],
            visitor.store.list_approvals_even_used_or_expired(name),
            rule,
            now=now,
            access=visitor.access,
            authors=authors,
            identity=visitor.identity,
        ),
        len(holds),
        [
            ActivePauseView(
                pause, can_end=(Right.PAUSE in rights) and visitor.can_pause_scope(pause.scope)
            )
            for pause in pauses
        ],
        _fixed_pause(rule, now),
        compute_window_state(rule.windows, now) if rule and rule.windows else None,
        form_tokens.build_token(visitor.identity, build_form_token_purpose(name))
        if is_acting
        else "",
        _pausable_scopes(visitor, name) if Right.PAUSE in rights else {},
        own_approval_doubt(rule, authors, visitor.access, visitor.identity),
        _proven_notice(form_tokens, visitor, name, parameters),
    )


def _fixed_pause(rule: TargetRule | None, now: float) -> FixedPause | None:
    pause = rule.pause if rule else None
    is_active = pause is not None and (pause.until is None or now < pause.until)
    return pause if is_active else None


def _pausable_scopes(visitor: Visitor, name: TargetName) -> Mapping[str, str]:
    scopes = {str(name): "this target"}
    scope = f"{name.source}/*"
    if visitor.can_pause_scope(scope):
        scopes[scope] = f"all targets of {name.source}"
    return scopes


def _proven_notice(
    form_tokens: FormTokens, visitor: Visitor, name: TargetName, parameters: Mapping[str, str]
) -> str:
    """What was just done, "" where the address does not prove that this reader did it."""
    verb = next((verb for verb in Verb if verb.value == parameters.get("done")), None)
    if verb is None or not visitor.identity:
        return ""
    purpose = notice_purpose(verb, name)
    proof = parameters.get("proof", "")
    return NOTICES[verb] if form_tokens.is_valid(proof, visitor.identity, purpose) else ""
