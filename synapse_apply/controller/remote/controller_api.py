"""What a running controller is asked over HTTP, and what its refusals mean.

Its words are masked where they arrive: whoever answers at the address may repeat the token.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from synapse_apply.controller.api_types import (
    API_VERSION,
    ActionResult,
    AuditList,
    Hold,
    HoldList,
    ListedRollout,
    ListedRun,
    OddAnswerError,
    Problem,
    RollbackPlan,
    Rollout,
    RolloutList,
    RolloutResult,
    RunList,
    TargetList,
    read_document,
)
from synapse_apply.controller.outbox import delivery
from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.remote import answers
from synapse_apply.controller.rows import AuditRow
from synapse_apply.controller.rules.exit_codes import MOST_RUNS_OF_FAILURE, target_exit_code
from synapse_apply.controller.verbs import ROLL_BACK, Verb
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import Exit, OutcomeUnknown, Refused, Stale, SynapseApplyError
from synapse_apply.model.json_types import JsonDocument, JsonValue
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.remote import HttpAnswer, HttpFault
from synapse_apply.model.secrets.proxies import proxy_logins
from synapse_apply.model.values import Sensitive

TOKEN_VARIABLE = "SYNAPSE_APPLY_CONTROLLER_TOKEN"  # noqa: S105 - its name
URL_VARIABLE = "SYNAPSE_APPLY_CONTROLLER_URL"
# As many as fit the largest answer that is read, whatever their texts.
_ITEMS_PER_PAGE = 200
_MOST_ITEMS = 100_000
# These have names and a phrase, and each page costs the controller a look at all of them.
_ROLLOUT_TARGETS_PER_PAGE = 1000
_CERTAINLY_NOT_SENT = frozenset({HttpFault.UNREACHABLE, HttpFault.UNTRUSTED})
_HINTS_BY_FAULT = {
    HttpFault.UNREACHABLE: "Check the address, and whether the controller runs.",
    HttpFault.TIMEOUT: "Try again. The controller's log shows what it is doing.",
    HttpFault.UNTRUSTED: "Set REQUESTS_CA_BUNDLE to the server's certificate authority.",
    HttpFault.BROKEN: "Check whether a proxy in between changes the answers.",
    HttpFault.TOO_LARGE: "Check the address: another server may answer there.",
}
_OK, _CONFLICT = 200, 409
T = TypeVar("T")
L = TypeVar("L", TargetList, HoldList, Rollout)


class ControllerUnavailable(SynapseApplyError):
    """A controller that does not answer, or not as a controller does."""


class NotAllowed(SynapseApplyError):
    """The controller does not know the token, or does not let its owner do this."""


class Answered(NamedTuple, Generic[T]):
    """A document of an answer, and all of it as it was answered."""

    document: T
    fields: Mapping[str, Any]


class ControllerApi:
    """The API of the controller at a URL. Its methods raise ControllerUnavailable and NotAllowed.

    What is asked of it may be refused (ActionRefused), or its answer may be lost (OutcomeUnknown).
    """

    def __init__(self, url: str, token: str = "") -> None:
        """InputError for a URL or a token that cannot be used.

        Plain http goes to a loopback address alone. Without a token only what is open is answered.
        """
        self.url = url.rstrip("/")
        self._receiver = delivery.Receiver("The controller", Sensitive(url), what_is_named="--url")
        self._redactor = Redactor([token or None, *proxy_logins(os.environ)])
        self._headers: dict[str, str] = {}
        if token:
            value = delivery.reveal_header_value(Sensitive(token), TOKEN_VARIABLE)
            self._headers["Authorization"] = f"Bearer {value}"

    def mask(self, text: str) -> str:
        """A text of the controller's without the token, nor the login of a proxy."""
        return self._redactor.mask_secrets_in_text(text)

    def read_target_list(self) -> JsonDocument:
        """All targets as one TargetList."""
        pages = self._iter_pages("targets", TargetList, {})
        items = [item for page in pages for item in page.fields["items"]]
        first_page = self._read("targets", TargetList, {"limit": "1"}).fields
        parts = ("sources", "source_findings", "processes", "pauses")
        return {
            "apiVersion": API_VERSION,
            "kind": TargetList.__name__,
            "items": items,
            "total": len(items),
            "offset": 0,
            # None of a part in the answer of an older controller.
            **{part: first_page.get(part) or [] for part in parts},
        }

    def names_matching(self, selector: str) -> list[str]:
        """The targets that match; a plain SOURCE/TARGET is itself."""
        if not any(character in selector for character in "*?[=,"):
            return [selector]
        items = self.read_target_list()["items"]
        return [str(item["name"]) for item in items if answers.matches_target(selector, item)]

    def scopes_matching(self, selector: str) -> list[str]:
        """What a pause can have: a pattern of names, or the targets that have a label now."""
        is_of_labels = any(character in selector for character in "=,")
        return self.names_matching(selector) if is_of_labels else [selector]

    def scopes_to_resume(self, selector: str) -> list[str]:
        """As `scopes_matching`; of labels those that have a pause, where any has one.

        To resume another one would end its rollback, which nobody has asked for.
        """
        scopes = self.scopes_matching(selector)
        if scopes in ([], [selector]):
            return scopes
        paused = {pause["scope"] for pause in self.read_target_list()["pauses"]}
        return [scope for scope in scopes if scope in paused] or scopes

    def names_containing(self, text: str, limit: int) -> list[str]:
        """The first targets whose SOURCE/TARGET has this text in it."""
        page = self._read("targets", TargetList, {"q": text, "limit": f"{limit}"})
        return [target.name for target in page.document.items]

    def find_target(self, name: str) -> answers.ShownTarget | None:
        """A target (SOURCE/TARGET) as it is now, None where there is none that may be read."""
        page = self._read("targets", TargetList, {"target": name})
        return self._check(lambda: answers.tell_target(page.document, page.fields, name))

    def list_newest_runs_first(self, target: str, limit: int) -> Sequence[ListedRun]:
        """The newest runs of a target, newest first."""
        page = self._read("runs", RunList, {"target": target, "limit": f"{limit}"})
        return page.document.items

    def list_held_rows(self, target: str) -> list[Hold]:
        """The rows of a target (SOURCE/TARGET) that wait for a person, in the plan's order."""
        pages = self._iter_pages("holds", HoldList, {"target": target})
        return [row for page in pages for row in page.document.items]

    def read_planned_fields(self, run_id: str) -> dict[str, tuple[answers.ShownField, ...]]:
        """What each row of a run's plan changes, by address; nothing where it is not kept."""
        run = self._get(f"runs/{quote(run_id, safe='')}", {})
        return self._check(lambda: answers.planned_fields(run))

    def iter_unmasked_audit_rows(self) -> Iterator[AuditRow]:
        """All rows of the audit, oldest first, as they are stored: not masked."""
        newest_number = 0
        while True:
            parameters = {"after": f"{newest_number}", "limit": f"{_ITEMS_PER_PAGE}"}
            rows = self._read("audit", AuditList, parameters, is_masked=False).document.items
            if not rows:
                return
            yield from rows
            if rows[-1].number <= newest_number:  # else it would be asked for ever
                raise self._build_shape_error("the numbers of its rows do not grow")
            newest_number = rows[-1].number

    def ask(self, verb: Verb, **members: Any) -> ActionResult:
        """Have something done with targets; `members` are those of the verb's document.

        Of rows all or none: Stale where one does not wait any more, Refused where these may not be
        decided on so.
        """
        try:
            document = self._post_or_raise_refusal(verb.name, members)
        except ActionRefused as refusal:
            if "rows" not in members:
                raise
            findings = refusal.diagnostics
        else:
            return self._check(lambda: read_document(ActionResult, document))
        waiting_digests = {row.digest for row in self.list_held_rows(members["target"])}
        if waiting_digests.issuperset(members["rows"]):
            raise Refused(*findings)
        raise Stale(*findings)

    def plan_rollback(self, target: str, revision: str, reason: str) -> RollbackPlan:
        """What a rollback of a target would do, without a digest while that is being planned.

        Refused where it cannot be rolled back to that revision.
        """
        body = {"target": target, "revision": revision, "reason": reason}
        try:
            document = self._post_or_raise_refusal(ROLL_BACK.name, body)
        except ActionRefused as refusal:
            raise Refused(*refusal.diagnostics) from None
        return self._check(lambda: read_document(RollbackPlan, document))

    def is_rolled_back(self, plan: RollbackPlan, reason: str) -> bool:
        """Whether a rollback was done as planned; False while another replica plans it, too.

        Stale where its plan is another by now.
        """
        body = {"target": plan.target, "revision": plan.commit, "plan": plan.digest}
        try:
            document = self._post_or_raise_refusal(ROLL_BACK.name, {**body, "reason": reason})
        except ActionRefused as refusal:
            raise Stale(*refusal.diagnostics) from None
        if isinstance(document, Mapping) and document.get("kind") == RollbackPlan.__name__:
            return False
        self._check(lambda: read_document(ActionResult, document))
        return True

    def list_rollouts(self) -> list[Answered[ListedRollout]]:
        """Every rollout that the token may see, those that need a person first."""
        page = self._read("rollouts", RolloutList, {})
        return [*map(Answered, page.document.items, page.fields["items"])]

    def read_rollout(self, name: str, *, reads_all_targets: bool = False) -> Answered[Rollout]:
        """A rollout with its waves; with `reads_all_targets` what was answered has every target."""
        path = f"rollouts/{quote(name, safe='')}"
        page = self._read(path, Rollout, {"limit": "1"})
        if not reads_all_targets:
            return page
        pages = self._iter_pages(path, Rollout, {}, _ROLLOUT_TARGETS_PER_PAGE)
        items = [item for part in pages for item in part.fields["items"]]
        fields = {**page.fields, "items": items, "total": len(items), "offset": 0}
        return Answered(page.document, fields)

    def ask_rollout(
        self, name: str, verb: Verb, number: int, wave: int = 0, reason: str = ""
    ) -> RolloutResult:
        """Have something done with a rollout, of the revision and wave that were shown.

        `wave` 0 is the rollout as a whole. Stale where it has another revision or wave by now,
        Refused where this cannot be asked of it.
        """
        body = {
            "number": number,
            **({"wave": wave} if wave else {}),
            **({"reason": reason} if reason else {}),
        }
        try:
            document = self._post_or_raise_refusal(
                f"rollouts/{quote(name, safe='')}/{verb.name}", body
            )
        except ActionRefused as refusal:
            findings = refusal.diagnostics
        else:
            return self._check(lambda: read_document(RolloutResult, document))
        now = self.read_rollout(name).document
        if (now.number, now.wave if wave else 0) != (number, wave):
            raise Stale(*findings)
        raise Refused(*findings)

    def _post_or_raise_refusal(self, path: str, body: Mapping[str, Any]) -> JsonValue:
        answer = self._send("POST", f"/api/v1/{path}", delivery.encode_compact_json(body))
        document = self._parse_answer(answer)
        if answer.status != _OK:
            raise self._answer_error(answer, document)
        return document

    def _iter_pages(
        self,
        path: str,
        kind: type[L],
        parameters: Mapping[str, str],
        items_per_page: int = _ITEMS_PER_PAGE,
    ) -> Iterator[Answered[L]]:
        """A list, page by page; an item may be missing where it changed meanwhile."""
        offset = 0
        while True:
            offset_and_limit = {"offset": f"{offset}", "limit": f"{items_per_page}"}
            page = self._read(path, kind, {**parameters, **offset_and_limit})
            yield page
            count, total = len(page.document.items), page.document.total
            offset += count
            if not count or offset >= total:
                return
            if count < items_per_page:
                raise self._build_shape_error(
                    f"its list ends before the {total} items that it announces"
                )
            if offset > _MOST_ITEMS:
                raise self._build_shape_error(f"it has more than {_MOST_ITEMS:,} items")

    def _read(
        self, path: str, kind: type[T], parameters: Mapping[str, str], *, is_masked: bool = True
    ) -> Answered[T]:
        fields = self._get(path, parameters, is_masked=is_masked)
        return Answered(self._check(lambda: read_document(kind, fields)), fields)

    def _get(self, path: str, parameters: Mapping[str, str], *, is_masked: bool = True) -> Any:
        query = f"?{urlencode(parameters)}" if parameters else ""
        answer = self._send("GET", f"/api/v1/{path}{query}")
        if answer.status != _OK:
            raise self._answer_error(answer, self._parse_answer(answer))
        return self._parse_answer(answer) if is_masked else delivery.parse_json_answer(answer)

    def _send(self, method: str, path: str, body: bytes = b"") -> HttpAnswer:
        try:
            return self._receiver.send_json_once(method, path, self._headers, body)
        except delivery.UndeliveredError as undelivered:
            fault, finding = undelivered.fault, undelivered.result.finding
        reason = finding.detail if finding else ""
        if body and fault not in _CERTAINLY_NOT_SENT:
            raise OutcomeUnknown.from_summary(
                "The controller did not confirm the action",
                reason,
                "Check what the controller shows now, and try again: it never carries out an "
                "action twice.",
            )
        raise ControllerUnavailable.from_summary(
            "The controller cannot be reached", reason, _HINTS_BY_FAULT[fault]
        )

    def _parse_answer(self, answer: HttpAnswer) -> JsonValue:
        return self._redactor.mask_json(delivery.parse_json_answer(answer))

    def _answer_error(self, answer: HttpAnswer, document: JsonValue) -> SynapseApplyError:
        """What an answer that is no success means; its own words, where it is a Problem."""
        problem = None
        with suppress(OddAnswerError):
            findings = read_document(Problem, document).diagnostics
            problem = next(
                (error_finding(one.summary, one.detail, one.hint) for one in findings), None
            )
        if answer.status == 401:
            return NotAllowed(self._build_token_finding(answer.status))
        if answer.status == 403:
            return NotAllowed(problem or self._build_token_finding(answer.status))
        if problem is None:
            return self._build_shape_error(f"it answered {answer.status}")
        error_class = ActionRefused if answer.status == _CONFLICT else ControllerUnavailable
        return error_class(problem)

    def _build_token_finding(self, status: int) -> Diagnostic:
        if not self._headers:
            return error_finding(
                "The controller needs a token",
                f"{self.url} answered {status}, and {TOKEN_VARIABLE} is not set.",
                f"Set {TOKEN_VARIABLE} to a token of `access.tokens` in its controller.yaml.",
            )
        return error_finding(
            "The controller rejects the token",
            f"{self.url} answered {status} to the token of {TOKEN_VARIABLE}.",
            "Compare the token with `access.tokens` in the controller's controller.yaml.",
        )

    def _check(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except OddAnswerError as problem:
            error = self._build_shape_error(f"{problem}")
        raise error

    def _build_shape_error(self, problem: str) -> ControllerUnavailable:
        return ControllerUnavailable.from_summary(
            "The answer does not come from a controller",
            f"{self.url} sent an unexpected answer: {problem}.",
            "Check the address: another server, or a proxy with a login page, may answer there.",
        )


# How long a command waits for what a controller was asked to do with a target.

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 2.0


class NotSettledInTime(SynapseApplyError):
    """A target that is still worked on, or is still to be, when the time is over."""


def wait_until_settled(
    api: ControllerApi,
    name: str,
    seconds: float,
    *,
    read_counter: Callable[[], float],
    sleep: Callable[[float], None],
    tell: Callable[[Mapping[str, Any]], None] = lambda _item: None,
) -> answers.ShownTarget:
    """A target (SOURCE/TARGET) once nothing is done with it, due or asked for.

    That is so when its source is fetched, it was looked at, and what may be applied by itself was
    and was looked at again. `tell` hears of it each time that it was asked for. NotSettledInTime
    after `seconds`, ControllerUnavailable where it is not there any more.
    """
    end, wait = read_counter() + seconds, _FIRST_WAIT_SECONDS
    while True:
        target = api.find_target(name)
        if target is None:
            raise ControllerUnavailable.from_summary(
                "Target not found",
                f"{api.url} has no target {name}, or the token may not read it.",
                "Give the token the `read` right for the target, or do not use --wait.",
            )
        tell(target.item)
        if target.is_settled:
            return target
        remaining = end - read_counter()
        if remaining <= 0:
            raise NotSettledInTime.from_summary(
                "Timed out",
                f"A check or an apply of {name} has not ended.",
                "The controller continues, and the target's page shows the progress. To wait "
                "longer, use --timeout.",
            )
        sleep(min(wait, remaining))
        wait = min(wait * 1.5, _LONGEST_WAIT_SECONDS)


def settled_exit_code(api: ControllerApi, name: str, target: answers.ShownTarget) -> int:
    """The exit code for what became of a target, as of `plan` and `apply`.

    ERROR where its source cannot be followed: it is at an older revision then.
    """
    code = target_exit_code(
        target.state, target.mode, lambda: api.list_newest_runs_first(name, MOST_RUNS_OF_FAILURE)
    )
    is_source_broken = any(
        entry["finding"].get("severity") == "error" for entry in target.source_findings
    )
    return Exit.select_exit_code(code, Exit.ERROR) if is_source_broken else code
