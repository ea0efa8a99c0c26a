"""What a saved plan contains, when it is stale (design section 7), and how it is applied."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError, ManifestError, Stale, SynapseApplyError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Plan
from synapse_apply.model.report import Report
from synapse_apply.model.state import PLAN_ROW_PREFIX, WITHOUT_EFFECT, IntentState
from synapse_apply.model.values import Mac, Sensitive
from synapse_apply.operations import saved_plan_file
from synapse_apply.planning.narrow import PermittedRows, narrow_plan, unite_plans
from synapse_apply.planning.open_call_refusals import with_wait_options
from synapse_apply.planning.package import uploaded_digest
from synapse_apply.planning.plan_input import PlanOptions
from synapse_apply.secrets.signatures import sign_document_or_empty_without_key
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.state_access import describe_identity
from synapse_apply.workspace.target_session import PlanResult, TargetSession, open_context

if TYPE_CHECKING:
    from synapse_apply.operations.apply import ApplyRun
    from synapse_apply.stores.sql import SqlStore

FORMAT = 1
_FORMAT_WITH_PACKAGES = 2  # of `plan --with-packages`, which went before the first version
# The options without a value that change the rows of a plan; runs are on where a file lacks them.
_FLAGS = (
    *("prune", "adopt", "recreate", "resend_secrets", "verify"),
    *("revert_drift", "allow_locked", "allow_replace"),
)
_SIGNED_KEYS = ("plan", "choices")


_OTHER_TARGET_SUMMARY = "This plan is for another target"


@frozen
class SavedPlan:
    """A plan as read from its file.

    `options` are those it was made with, without the project file's rules. `mac` is the signature
    of `signed_text` under a state key, None without one.
    """

    file: Path
    plan: Plan
    options: PlanOptions
    signed_text: str
    mac: Mac | None

    def with_current_rules(self, current_options: PlanOptions) -> PlanOptions:
        """The options to plan again with: the saved plan's, under the project file's current rules.

        Guards may be overridden when the plan is made and when it is applied.
        """
        return replace(
            self.options,
            recreate=self.options.recreate or current_options.recreate,
            overridden=self.options.overridden | current_options.overridden,
            guards=current_options.guards,
            policy=current_options.policy,
            on_drift=current_options.on_drift,
        )

    def require_usable(
        self, session: TargetSession, *, reviewed: bool, allow_unsigned: bool
    ) -> tuple[Diagnostic, ...]:
        """Stale (exit 4) unless the plan is genuine, for this target, and not applied yet.

        Of a reviewed plan each row is done once. Returns the warnings about an unsigned plan that
        is allowed.
        """
        findings = self.list_state_errors(session.store, session.target.name)
        # First whose plan it is: with another target's key nothing can be said of its signature.
        if any(finding.summary == _OTHER_TARGET_SUMMARY for finding in findings):
            raise Stale(*findings)
        expected_mac, reason = _sign_text(session, self.signed_text), ""
        if self.mac is None:
            summary, reason = "This plan is not signed", f"{self.file} has no signature."
        elif expected_mac is None or expected_mac.key_id != self.mac.key_id:
            summary = "The signature of this plan cannot be checked"
            reason = (
                f"{self.file} was signed with state key {self.mac.key_id}, which is not available "
                "here."
            )
        # Earlier versions signed under the key of secrets' digests, as if the text were a secret.
        elif self.mac not in {
            expected_mac,
            session.secrets.compute_mac("", ("plan",), Sensitive(self.signed_text)),
        }:
            reason = f"{self.file} was changed after it was signed."
            raise Stale.from_summary("The signature of this plan is wrong", reason, "Plan again.")
        if reason and not allow_unsigned:
            hint = "Plan again where the state key is available, or pass --allow-unsigned."
            raise Stale.from_summary(summary, reason, hint)
        if findings and not reviewed:
            raise Stale(*findings)
        return (
            (warning_finding(summary, f"{reason} An apply does what the plan shows."),)
            if reason
            else ()
        )

    def list_state_errors(self, store: SqlStore, target: str) -> tuple[Diagnostic, ...]:
        """Errors where a state is not the one the plan was made for, or has applied it."""
        base, current_identity = self.plan.base, store.read_backend_identity()
        if base.binding != current_identity or base.lineage != store.read_lineage():
            current_text = f"target {target} is {describe_identity(current_identity)}"
            if base.binding == current_identity:
                current_text = "the target has another state now"
            place = f"with -t {shlex.quote(base.target)}, the target it was made for"
            if base.target == target:
                place = "where this target has that state and backend"
            return (
                error_finding(
                    _OTHER_TARGET_SUMMARY,
                    f"It was made for {describe_identity(base.binding)} ({base.target}); "
                    f"{current_text}.",
                    f"Apply it {place}, or plan again.",
                ),
            )
        if store.was_plan_applied(self.plan.id):
            return (
                error_finding(
                    "This plan was already applied",
                    f"An apply of plan {self.plan.id} was started before; a plan is "
                    "applied only once.",
                    Text(
                        "Plan again: the new plan contains what is left to do. ",
                        Command("state history show", self.plan.id),
                        " shows what this one did.",
                    ),
                ),
            )
        return ()

    def list_changes_since(self, invocation: Invocation) -> list[Diagnostic]:
        """What is known here to have changed since a plan was made, without querying the backend.

        Warnings from the local state and manifests; none where these cannot be read.
        """
        plan_invocation = replace(invocation, target=invocation.target or self.plan.base.target)
        findings: list[Diagnostic] = []
        try:
            with TargetSession(plan_invocation) as session:
                if not session.store.exists():
                    return findings
                findings += [
                    warning_finding(problem.summary, problem.detail, problem.hint)
                    for problem in self.list_state_errors(session.store, session.target.name)
                ]
                declared_target = session.declared_target
        except SynapseApplyError:
            return findings
        errors = sum(finding.is_error for finding in declared_target.diagnostics)
        if errors:
            findings.append(
                warning_finding(
                    "The planned manifests or packages are no longer here",
                    Text(
                        "The manifests here, or packages that they name, have "
                        f"{format_count_and_noun(errors, 'error')}: ",
                        Command("validate"),
                        " shows them.",
                    ),
                    "Show and apply the plan with the manifests and packages that it "
                    "was made from, or plan again.",
                )
            )
        elif declared_target.manifests.manifests_digest != self.plan.base.manifests_digest:
            findings.append(
                warning_finding(
                    "The manifests changed since this plan was made",
                    "The manifests here are not the planned ones.",
                    "Plan again, or pass the same variables and files as for the plan.",
                )
            )
        for change in self.plan.changes:
            digest = uploaded_digest(change) if change.has_unrefused_call_or_run else None
            package = declared_target.packages.get(change.address)
            if digest and package is not None and package.digest != digest:
                findings.append(
                    warning_finding(
                        "A package changed since this plan was made",
                        f"{package.source} no longer contains the files that the plan "
                        f"uploads for {change.address}.",
                        "Plan again.",
                    )
                )
        return findings


@frozen
class SaveResult:
    """Whether the plan was signed."""

    is_signed: bool


def save_plan_to_new_file(
    session: TargetSession, plan: Plan, options: PlanOptions, path: Path
) -> SaveResult:
    """Write a plan to a new file (0600), completely or not at all.

    InputError when the file exists, cannot be written, or the plan has errors.
    """
    # A file is an approval, and a plan with errors cannot be applied.
    if plan.has_errors:
        raise InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    selected = options.selected
    choices = {
        **{name: getattr(options, name) for name in _FLAGS},
        "no_package_check": sorted(options.no_package_check),
        "overridden": sorted(options.overridden),
        "selected": None if selected is None else sorted(map(str, selected)),
    }
    body: JsonObject = {"plan": codec.plan_to_json(plan), "choices": choices}
    mac = _sign_text(session, format_canonical_json(body))
    signature = {"key_id": mac.key_id, "mac": mac.digest} if mac else None
    text = json.dumps({"format": FORMAT, **body, "signature": signature}, sort_keys=True)
    saved_plan_file.write_new_plan_file(path, text)
    return SaveResult(mac is not None)


def read_saved_plan_without_verifying_signature(path: Path) -> SavedPlan:
    """The plan in a file, its signature unchecked; InputError for none, a damaged or newer one."""
    document = saved_plan_file.read_plan_document(path)
    try:
        format_number = document["format"]
        if format_number == _FORMAT_WITH_PACKAGES:
            raise saved_plan_file.build_packages_error(path)
        if format_number != FORMAT:
            reason = "another version of synapse-apply wrote it"
            raise saved_plan_file.build_unusable_error(
                path, reason, "Create the plan again with this version."
            )
        signature, choices = document["signature"], document["choices"]
        selected = choices["selected"]
        flags: dict[str, Any] = {
            name: choices.get(name, name == "verify") is True for name in _FLAGS
        }
        options = PlanOptions(
            **flags,
            no_package_check=frozenset(map(str, choices.get("no_package_check", ()))),
            overridden=frozenset(map(str, choices["overridden"])),
            selected=None if selected is None else frozenset(map(Address.parse, selected)),
        )
        return SavedPlan(
            path,
            codec.plan_from_json(document["plan"]),
            options,
            format_canonical_json(
                {name: document[name] for name in _SIGNED_KEYS if name in document}
            ),
            Mac(str(signature["key_id"]), str(signature["mac"])) if signature else None,
        )
    except saved_plan_file.DAMAGED_FILE_ERRORS:
        raise saved_plan_file.build_unusable_error(path, saved_plan_file.DAMAGED) from None


def _mark(text: str, number: int) -> str:
    further = f" {number}" if number else ""
    return f"{PLAN_ROW_PREFIX}{hashlib.sha256(f'{text}{further}'.encode()).hexdigest()}"


def _iter_conflicts(plans: Sequence[SavedPlan]) -> Iterator[Diagnostic]:
    """Why plans cannot form one apply: given twice, or of different targets or options."""

    def group_files(texts: Iterable[str]) -> dict[str, list[str]]:
        """The plans' file names by the text that belongs to each plan."""
        groups: dict[str, list[str]] = {}
        for text, plan in zip(texts, plans, strict=True):
            groups.setdefault(text, []).append(str(plan.file))
        return groups

    def join_groups(groups: Mapping[str, list[str]]) -> str:
        return "; ".join(f"{text} in {', '.join(files)}" for text, files in groups.items())

    for plan_id, files in group_files(each.plan.id for each in plans).items():
        if len(files) > 1:
            yield error_finding(
                "A reviewed plan is specified more than once",
                f"{', '.join(files)}: plan {plan_id}.",
                "Specify each plan once, in the order in which the plans were merged.",
            )
    groups = group_files(
        f"{describe_identity(base.binding)} ({base.target}), state {base.lineage},"
        for base in (each.plan.base for each in plans)
    )
    if len(groups) > 1:
        yield error_finding(
            "These plans were created for different targets",
            f"{join_groups(groups)}. One apply works on one target and its state.",
            "Apply each plan on the target it was created for, with a separate `apply --reviewed`.",
        )
    # What changes the rows of a plan, as it is typed: plans of one apply agree on each.
    choices: list[dict[str, str]] = []
    for options in (each.options for each in plans):
        flags = {f"--{name.replace('_', '-')}": getattr(options, name) for name in _FLAGS}
        flags["--no-verify"] = not flags.pop("--verify")
        choice = {option: "on" if is_on else "off" for option, is_on in flags.items()}
        choice["--override-guard"] = ", ".join(sorted(options.overridden)) or "none"
        choice["--no-package-check"] = ", ".join(sorted(options.no_package_check)) or "none"
        choices.append(choice)
    for option in choices[0]:
        groups = group_files(choice[option] for choice in choices)
        if len(groups) > 1:
            yield error_finding(
                "These plans were created with different options",
                f"{option} is {join_groups(groups)}. An apply takes one value for all its "
                "plans, so some rows would not be as they were reviewed.",
                "Apply each plan with a separate `apply --reviewed`, the oldest first, or "
                "plan again with the same options.",
            )


def _sign_text(session: TargetSession, signed_text: str) -> Mac | None:
    document = {"text": signed_text}
    signature = sign_document_or_empty_without_key(session.state_keys, "saved plan", document)
    key_id, _, digest = signature.partition(":")
    return Mac(key_id, digest) if signature else None


@frozen
class ApprovedPlans:
    """The plans of the given files, older first, and one plan that unites them.

    `reviewed`: rows of the plan may be applied although the manifests have changed since.
    """

    files: tuple[SavedPlan, ...]
    united_plan: SavedPlan
    reviewed: bool

    @classmethod
    def of_files(cls, files: Sequence[SavedPlan], *, reviewed: bool) -> Self:
        """These plans, older first; a single plan is its own union.

        Selections are united. Stale, with every finding, where the plans differ in target or
        options or are given twice, so that no single apply could be what was reviewed.
        """
        if len(files) == 1:
            return cls(tuple(files), files[0], reviewed)
        if problems := tuple(_iter_conflicts(files)):
            raise Stale(*problems)
        newest = files[-1]
        selections = [each.options.selected for each in files]
        chosen = [selection for selection in selections if selection is not None]
        everything = len(chosen) < len(selections)
        united_plan = replace(
            newest,
            plan=unite_plans([each.plan for each in files]),
            options=replace(
                newest.options, selected=None if everything else frozenset().union(*chosen)
            ),
        )
        return cls(tuple(files), united_plan, reviewed)

    @classmethod
    def read(cls, paths: Sequence[Path], *, reviewed: bool) -> Self:
        """Read plan files, older first. Only reviewed plans may be several.

        InputError for a file that holds no plan, Stale where several cannot form one apply.
        """
        files = [read_saved_plan_without_verifying_signature(path) for path in paths]
        return cls.of_files(files, reviewed=reviewed)

    @property
    def target(self) -> str:
        """The name of the target that the plans were made for, as the files say."""
        return self.united_plan.plan.base.target

    @property
    def typed(self) -> tuple[str, ...]:
        """The files as `apply` is given them, a word each."""
        option = ("--reviewed",) if self.reviewed else ()
        return tuple(str(word) for each in self.files for word in (*option, each.file))

    def require_usable(
        self, session: TargetSession, *, allow_unsigned: bool
    ) -> tuple[Diagnostic, ...]:
        """Stale, with all findings, unless every plan is usable; returns the warnings of all."""
        warnings, problems = list[Diagnostic](), list[Diagnostic]()
        for each in self.files:
            try:
                warnings += each.require_usable(
                    session, reviewed=self.reviewed, allow_unsigned=allow_unsigned
                )
            except Stale as stale:
                problems += [finding for finding in stale.diagnostics if finding not in problems]
        if problems:
            raise Stale(*problems)
        return tuple(warnings)

    @contextmanager
    def open_session(self, invocation: Invocation) -> Iterator[TargetSession]:
        """A session to apply the plans in. Stale where a saved plan's manifests are unusable now.

        Commands in error messages name the plan's target, even where the user did not type it.
        """
        with ExitStack() as stack:
            try:
                try:
                    session = stack.enter_context(open_context(invocation))
                except ManifestError as problem:
                    if self.reviewed:
                        raise
                    raise Stale(
                        error_finding(
                            "The planned manifests or packages are no longer here",
                            f"They had no errors when {self.united_plan.file} was made, and "
                            "now have the errors below. Nothing was sent.",
                            "Restore them, or pass the same --var, --file and --ref as for the "
                            "plan; otherwise plan again.",
                        ),
                        *problem.diagnostics,
                    ) from None
                yield session
            except SynapseApplyError as problem:
                target = invocation.target or ""
                problem.diagnostics = name_target_in_commands(problem.diagnostics, target)
                raise

    def require_worth_waiting(self, session: TargetSession, *, allow_unsigned: bool) -> None:
        """Stale for plans that stay unusable however long an earlier call is waited for."""
        self.require_usable(session, allow_unsigned=allow_unsigned)
        united, plan = self.united_plan, self.united_plan.plan
        if plan.refused_changes and not (plan.actionable_changes or plan.moved):
            raise Stale.from_summary(
                "The plan refused all its rows",
                f"{united.file}: an apply skips the rows that the plan refused, so it did "
                "not wait.",
                "Plan again when the reasons are gone.",
            )

    def apply(self, apply_run: ApplyRun, *, allow_unsigned: bool = False) -> Report:
        """Check the plans, plan again, narrow to their rows and apply, all under the state's lock.

        `apply_run` must plan with the options of `with_current_rules`. Stale for a plan that is not
        genuine, of another target, or outdated; else raises as `operations.apply.check`.
        """
        session, observer = apply_run.session, apply_run.observer
        with session.lock_state_of_own_project("apply"):
            warnings = self.require_usable(session, allow_unsigned=allow_unsigned)
            permitted = PermittedRows()
            # A saved plan says what was approved; only a new plan knows what is live now.
            plan_result = apply_run.plan_anew()
            if not plan_result.plan.has_errors:
                done, permitted = self._read_row_marks(session.store, plan_result)
                plan_result = self._narrow(plan_result, done)
                plan = plan_result.plan
                # A saved plan of which something is done is used up by that.
                if not self.reviewed and (plan.actionable_changes or plan.moved):
                    plan = with_wait_options(plan, None)
                # What it was refused in, it never does.
                refused = {str(change.address) for change in self.united_plan.plan.refused_changes}
                plan_result = replace(plan_result, plan=with_wait_options(plan, None, refused))
            observer.show_plan(plan_result.plan)
            observer.show_warnings(warnings)
            return apply_run.apply_under_lock(
                plan_result, uses_up_plan=not self.reviewed, permitted=permitted
            )

    def _narrow(self, plan_result: PlanResult, done: frozenset[Address]) -> PlanResult:
        """The new plan without rows that the saved plan does not have, or has differently.

        Stale when the manifests differ from the planned ones; of `reviewed` plans they may differ,
        and rows that the reviewed plan does not have are refused, as are those it has `done`
        before. Stale, too, when a record would be renamed that the saved plan does not rename.
        """
        saved_plan = self.united_plan
        base, new_base = saved_plan.plan.base, plan_result.plan.base
        if not self.reviewed and base.manifests_digest != new_base.manifests_digest:
            saved_values, new_values = (
                {
                    change.address: (codec.change_to_json(change)["after"],)
                    for change in plan.changes
                }
                for plan in (saved_plan.plan, plan_result.plan)
            )
            differing = [
                str(address)
                for address in sorted({*saved_values, *new_values})
                if saved_values.get(address) != new_values.get(address)
            ]
            differing_text = ", ".join(differing[:10]) + (", ..." if len(differing) > 10 else "")
            raise Stale.from_summary(
                "The manifests changed since this plan was made",
                "The manifests here are not the planned "
                f"ones{f': see {differing_text}' if differing_text else ''}.",
                Text(
                    "Plan again, or, if you left out variables or files, pass the same "
                    "--var, --file and --ref as for the plan. To apply the rows that are "
                    "still the same: ",
                    Command("apply --reviewed", saved_plan.file),
                    ".",
                ),
            )
        saved_moves = {(move.old, move.new) for move in saved_plan.plan.moved}
        new_moves = [
            move for move in plan_result.plan.moved if (move.old, move.new) not in saved_moves
        ]
        if new_moves:
            moves_text = ", ".join(f"{move.old} to {move.new}" for move in new_moves[:10])
            raise Stale.from_summary(
                "An apply would move addresses that this plan does not move",
                f"{moves_text}{', ...' if len(new_moves) > 10 else ''}.",
                "Plan again: `moved:` in the project file has changed since.",
                position=new_moves[0].position,
            )
        narrowed = narrow_plan(saved_plan.plan, plan_result.plan, reviewed=self.reviewed, done=done)
        return replace(plan_result, plan=narrowed)

    # A mark is an approval: the state uses it up when a row begins, and gives it back for a call
    # that had no effect. All plans that show a row have one for it, and a further one for each time
    # that the row's call is sent again; the newest of the newest plan tells whether the row is
    # done.
    def _read_row_marks(
        self, store: SqlStore, plan_result: PlanResult
    ) -> tuple[frozenset[Address], PermittedRows]:
        """Which rows that are due now the plans did before, and the unused marks of the rows."""
        calls = {call.id: call for call in store.read_state().open_intents}
        calls |= {call.intent.id: call.intent for call in plan_result.resolved_intents}
        # Given back as soon as this apply closes the call, which did nothing.
        freed, opened = set[str](), set[str]()
        for call in calls.values():
            if call.state in WITHOUT_EFFECT:
                freed.update(call.approvals)
            elif call.state is not IntentState.DONE:
                opened.update(
                    call.approvals
                )  # nobody knows whether it was done: it may be sent again
        changes = [each for each in plan_result.plan.changes if each.action is not Action.NO_OP]
        chains: dict[Address, list[tuple[str, list[str]]]] = {
            each.address: [] for each in changes if each.is_due
        }
        for saved in (each.plan for each in self.files):
            for change in saved.changes:
                if change.is_due and change.address in chains:
                    text = f"{saved.id} {change.address}"
                    chains[change.address].append((text, [_mark(text, 0)]))
        asked = [chain for of_row in chains.values() for chain in of_row]
        while asked:
            used = {*store.list_used_approvals([marks[-1] for _, marks in asked])} - freed
            asked = [(text, marks) for text, marks in asked if marks[-1] in used]
            for text, marks in asked:
                marks.append(_mark(text, len(marks)))
        unused = {row: tuple(marks[-1] for _, marks in of_row) for row, of_row in chains.items()}
        done = frozenset(
            row
            for row, of_row in chains.items()
            for _, marks in of_row[-1:]
            if len(marks) > 1 and marks[-2] not in opened
        )
        return done, PermittedRows(approvals=unused)
