"""Which methods and options a script has for one target: what the commands do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.model.diagnostic import is_at_or_below
from synapse_apply.model.errors import InputError, NotApproved, OptionConflict, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.values import ABSENT, get_at_or_absent
from synapse_apply.operations import connection
from synapse_apply.workspace.invocation import Invocation

if TYPE_CHECKING:
    from synapse_apply.library.target_live import TargetLive
    from synapse_apply.library.target_packages import TargetPackages
    from synapse_apply.model.address import Address
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.model.plan import Change, Plan
    from synapse_apply.model.ports import CallPermit, Progress
    from synapse_apply.model.report import Checkup, Drift, Report
    from synapse_apply.model.resource import Desired
    from synapse_apply.model.state import Record
    from synapse_apply.operations.apply import Confirm
    from synapse_apply.operations.apply_observer import ApplyObserver
    from synapse_apply.operations.blame import Blame
    from synapse_apply.operations.history import PastRun
    from synapse_apply.operations.jobs import TargetJobs
    from synapse_apply.operations.resource_sides import ResourceSides
    from synapse_apply.operations.saved_plan import ApprovedPlans, SaveResult
    from synapse_apply.operations.state import TargetState
    from synapse_apply.operations.validate import ValidationResult
    from synapse_apply.operations.verify import ComparedBytes
    from synapse_apply.planning.narrow import PermittedApply, PermittedRows
    from synapse_apply.planning.plan_input import PlanOptions
    from synapse_apply.workspace.inventory_rows import InventoryRowsByAddress
    from synapse_apply.workspace.target_session import PlanResult

# A service may plan for months with one target.
_MAX_REMEMBERED_PLANS = 100


class OpenTarget:
    """One target of a project, as `open_target` returns it.

    Manifests, variables and packages are read once, by the first method that needs them: open the
    target again to see changes in the files. State and backend are read again by every method.
    For one thread at a time; each method that writes takes the state's lock by itself.

    The options that several methods share say what is planned, as on the command line:

    - `only`, `exclude`: names of resources: addresses, kinds, labels as KEY=VALUE, `*` for several.
    - `prune`: delete what is recorded and no longer declared; with `allow_locked` also releases
      that are locked.
    - `adopt`: take objects over that exist and are not recorded.
    - `recreate`: make missing objects again even where the backend cannot say they are gone.
    - `verify`: run the releases whose manifests ask for it and that are due.
    - `revert_drift`: undo what was changed outside also where the target says `on_drift: hold`.
    - `resend_secrets`: send every secret, changed or not.
    - `override_guards`: names of guards that are to pass, or `policy:RULE`.
    - `no_package_check`: rules that new packages may violate, such as `package:version`.
    """

    def __init__(self, invocation: Invocation) -> None:
        """`open_target` is the way to make one."""
        self._connection = connection.TargetConnection(invocation)
        self._invocation = invocation
        # The options of the newest plans, by the plan's id.
        self._plan_options: dict[str, PlanOptions] = {}
        # What the newest plan was made from, and when, on the session's monotonic clock.
        self._last_plan: tuple[PlanResult, float] | None = None

    @property
    def state(self) -> TargetState:
        """The state of the target, with what the `state` commands show and change."""
        from synapse_apply.operations.state import TargetState

        return TargetState(self._connection)

    @property
    def jobs(self) -> TargetJobs:
        """The jobs of the target, and how to run a plugin."""
        from synapse_apply.operations.jobs import TargetJobs

        return TargetJobs(self._connection)

    @property
    def live(self) -> TargetLive:
        """The live objects of the target, whether they are declared or not."""
        from synapse_apply.library.target_live import TargetLive

        return TargetLive(self._connection)

    @property
    def packages(self) -> TargetPackages:
        """The packages of its releases, and any other."""
        from synapse_apply.library.target_packages import TargetPackages

        return TargetPackages(self._connection)

    @property
    def name(self) -> str:
        """The target's name, from the project file. It can raise InputError."""
        return self._connection.chosen_name()

    def close(self) -> None:
        """Close the connections to the backend and the state. A second call does nothing.

        Every other method raises InputError from then on.
        """
        self._last_plan = None
        self._connection.close()

    def validate(self) -> ValidationResult:
        """Check the project file, the manifests and their packages.

        Of every target, unless one was named. Needs no backend, no credentials and no secret. The
        findings are in the result; InputError for what hides all the rest.
        """
        from synapse_apply.operations.validate import validate

        with self._connection.guarded():
            return validate(self._invocation, every_target=self._invocation.target is None)

    def read_manifests(self) -> Mapping[Address, Desired]:
        """Return the declared resources by address, after reading their packages.

        Needs no backend, no state and no secret. ManifestError with every finding.
        """
        from synapse_apply.workspace.target_session import TargetSession

        with self._connection.guarded():
            return TargetSession(self._invocation).desired

    def find_resource(self, name: str, *, create_state: bool = True) -> ResourceSides:
        """Show one resource as declared, recorded and live; a failed read is a finding.

        `name` is an address, or a name that one kind has. NameNotFound for another one.
        `create_state` is as in `plan`.
        """
        from synapse_apply.operations.resource_sides import read_sides

        name = connection.require_text("name", name)
        with self._connection.ready(read_only=not create_state) as session:
            return read_sides(session, name)[1]

    def blame(self, name: str, field: str = "") -> Blame:
        """Show where each live value of an object comes from; `field` selects one field or a map.

        `name` is as in `find_resource`. Writes nothing. StateError where the object is not live or
        was not read, InputError for a field that it has not.
        """
        from synapse_apply.operations.blame import blame

        name, field = connection.require_text("name", name), connection.require_text("field", field)
        with self._connection.ready(read_only=True) as session:
            return blame(session, name, field)

    def plan(
        self, *, only: Sequence[str] = (), exclude: Sequence[str] = (), prune: bool = False,
        allow_locked: bool = False, adopt: bool = True, recreate: bool = False,
        verify: bool = True, revert_drift: bool = False, resend_secrets: bool = False,
        override_guards: Collection[str] = (), no_package_check: Collection[str] = (),
        server_dry_run: bool = False, create_state: bool = True, progress: Progress | None = None,
    ) -> Plan:  # fmt: skip
        """Show what `apply` would do. A failed read sets `plan.has_errors`.

        Sends nothing that could change anything, and takes no lock; open calls stay open.
        The state of a new embedded backend is made; without `create_state` nothing is written,
        and that such a state is missing is a StateError, as for all other backends.

        With `server_dry_run` the backend checks each call that it can check without acting on it;
        `progress` receives each. Raises InputError, OptionConflict, StateError.
        """
        from synapse_apply.operations.apply_observer import ApplyObserver
        from synapse_apply.operations.plan import plan
        from synapse_apply.operations.plan_arguments import PlanArguments

        arguments = PlanArguments.of(locals(), allow_replace=True)
        with self._connection.ready(read_only=not create_state) as session:
            # Of what an apply may do an answer on a terminal allows these two as well.
            typed = replace(arguments, adopt=None, allow_replace=False).typed
            options = replace(arguments.build_plan_options(session), typed=typed)
            read_at = session.clock.monotonic_seconds()
            dry_run_progress = (progress or ApplyObserver()) if server_dry_run else None
            plan_result = plan(session, options, dry_run_progress=dry_run_progress)
        self._plan_options[plan_result.plan.id] = options
        if len(self._plan_options) > _MAX_REMEMBERED_PLANS:
            del self._plan_options[next(iter(self._plan_options))]
        self._last_plan = plan_result, read_at
        return plan_result.plan

    def plan_offline(
        self, against: str, *, only: Sequence[str] = (), exclude: Sequence[str] = (),
        prune: bool = False, allow_locked: bool = False, adopt: bool = True,
        recreate: bool = False, verify: bool = True, revert_drift: bool = False,
        override_guards: Collection[str] = (), no_package_check: Collection[str] = (),
    ) -> Plan:  # fmt: skip
        """Compare the manifests with "git:REF" or an inventory ("state:FILE"), without a backend.

        Asks neither the state nor the backend, and reads no secret. Such a plan cannot be applied
        or saved. Raises InputError, OptionConflict.
        """
        from synapse_apply.operations.offline_plan import load_offline_comparison, plan_offline
        from synapse_apply.operations.plan_arguments import PlanArguments

        arguments = PlanArguments.of(locals(), allow_replace=True)
        with self._connection.guarded():
            comparison = load_offline_comparison(self._invocation, against)
            return plan_offline(comparison, arguments.build_plan_options(comparison))

    def apply(
        self, plan: Plan | None = None, *, confirm: Confirm | None = None,
        auto_approve: bool = False, all_or_nothing: bool = False, adopt: bool | None = None,
        only: Sequence[str] = (), exclude: Sequence[str] = (), prune: bool = False,
        allow_locked: bool = False, recreate: bool = False, verify: bool = True,
        revert_drift: bool = False, resend_secrets: bool = False, allow_replace: bool = False,
        override_guards: Collection[str] = (), no_package_check: Collection[str] = (),
        wait: bool = False, observer: ApplyObserver | None = None,
    ) -> Report:  # fmt: skip
        """Change the backend to match the manifests, under the state's lock.

        One of three approves it. `plan`: a plan that `plan()` of this object returned. Where it is
        older than a minute, or the state was written since, it is made anew under the lock and must
        be the same, else Stale is raised. `confirm`: a function that gets the plan, which is made
        here with the options of `plan()`, and returns whether to apply it. It is called while
        nothing is locked, only where there is something to do, and again where the plan is another
        one by the time the state is locked. `auto_approve`: the state is locked, and whatever is
        planned then is applied; not beside `confirm`. With a `plan`, `confirm` is asked first, and
        again where it would be Stale.

        `all_or_nothing`: apply nothing while a row is refused. `wait`: first wait until it is
        certain what became of calls of earlier runs. `adopt`: True also takes over an object that
        appears as declared while it is made; None adopts where `confirm` is given. `allow_replace`
        replaces packages where nobody is asked. `observer` gets plans, progress and the report.

        A call that fails is in the report, not raised. Raised before the first call: NotApproved,
        Stale, InputError for a plan with errors, Refused by a guard, LockHeld, SecretUnavailable,
        StateError, OptionConflict.
        """
        from synapse_apply.operations.apply import ApplyRun
        from synapse_apply.operations.plan_arguments import PlanArguments
        from synapse_apply.operations.settle import Settling, record_signed_journals

        arguments = PlanArguments.of(locals())
        if confirm is not None and auto_approve:
            raise OptionConflict.from_summary(
                "confirm and auto_approve cannot be combined: the function would not be called."
            )
        if plan is None and confirm is None and not auto_approve:
            raise NotApproved.from_summary(
                "Nobody approved this apply",
                "apply() got neither a plan, nor confirm, nor auto_approve. Nothing was sent.",
                "Pass a plan from plan(), confirm=FUNCTION or auto_approve=True.",
            )
        if (
            plan is not None
            and replace(arguments, adopt=None, allow_replace=False) != PlanArguments()
        ):
            raise OptionConflict.from_summary(
                "Pass arguments that change the rows of a plan to plan(), not to apply()."
            )
        options = None if plan is None else self._options_of(plan)
        may_ask = confirm is not None or self._invocation.on_terminal
        with self._connection.ready() as session:
            options = options or arguments.build_plan_options(session, will_ask=may_ask)
            apply_run = ApplyRun(
                session, options, observer, confirm=confirm,
                all_or_nothing=all_or_nothing, may_adopt=adopt is True,
            )  # fmt: skip
            if plan is None:
                record_signed_journals(session, apply_run.observer.show_warnings)
            if wait:
                Settling(session, apply_run.observer.wait).wait_until_certain(options.selected)
            if plan is None:
                return apply_run.plan_and_apply()
            # Equal, not only of the same id: a copy with other rows or without its guards was never
            # planned. Planning again shows that, and it is Stale.
            if self._last_plan is not None and self._last_plan[0].plan == plan:
                return apply_run.apply_earlier(plan, *self._last_plan)
            return apply_run.apply_earlier(plan, None, 0.0)

    def _options_of(self, plan: Plan) -> PlanOptions:
        """The options that a plan was made with; InputError for one that is not remembered."""
        if plan.id not in self._plan_options:
            raise InputError.from_summary(
                "This plan does not come from this target object",
                f"Plan {plan.id} is not among the last {_MAX_REMEMBERED_PLANS} plans that "
                "plan() of this target returned.",
                "Plan again, or save the plan where you create it and use apply_saved().",
            )
        return self._plan_options[plan.id]

    def save_plan(self, plan: Plan, file: Path | str) -> SaveResult:
        """Write a plan of this object to a new file, for `apply_saved` here or elsewhere.

        It holds no secret, and is signed where there is a state key. InputError where the file is
        there already or cannot be written, or the plan has errors.
        """
        from synapse_apply.operations.saved_plan import save_plan_to_new_file

        path = self._path(file)
        options = self._options_of(plan)
        with self._connection.ready() as session:
            return save_plan_to_new_file(session, plan, options, path)

    def require_unused_file(self, file: Path | str) -> None:
        """Raise InputError if `save_plan` could not create this file."""
        from synapse_apply.operations.saved_plan_file import require_unused_path

        require_unused_path(self._path(file))

    def read_saved_plan(self, file: Path | str) -> ApprovedPlans:
        """Read the plan in a file, for `apply_saved`. Raises InputError if the file has no plan."""
        from synapse_apply.operations.saved_plan import ApprovedPlans

        return ApprovedPlans.read([self._path(file)], reviewed=False)

    def find_changes_since(self, plans: ApprovedPlans) -> list[Diagnostic]:
        """Return warnings about changes since a plan was saved.

        Manifests, packages and the state are read, the backend is not asked. Nothing is found where
        there is no state, or the manifests of that target cannot be read here.
        """
        with self._connection.guarded():
            return plans.united_plan.list_changes_since(self._invocation)

    def read_reviewed_plans(self, files: Sequence[Path | str]) -> ApprovedPlans:
        """Read reviewed plans, older first. `apply_saved` then applies only equal rows.

        InputError for a file that holds no plan, Stale where they cannot be one apply.
        """
        from synapse_apply.operations.saved_plan import ApprovedPlans

        self._connection.require_open()
        paths = connection.require_paths("files", files, self._invocation.directory)
        if not paths:
            raise InputError.from_summary("files is empty", "Specify at least one file.")
        return ApprovedPlans.read(paths, reviewed=True)

    def apply_saved(
        self, plans: Path | str | ApprovedPlans, *, allow_unsigned: bool = False,
        all_or_nothing: bool = False, recreate: bool = False,
        override_guards: Collection[str] = (), wait: bool = False,
        observer: ApplyObserver | None = None,
    ) -> Report:  # fmt: skip
        """Apply a saved plan: only what it shows, once. The file is the approval.

        `plans` is a file, or what `read_saved_plan` or `read_reviewed_plans` gives. Of reviewed
        plans the manifests may have moved on: all is planned anew, rows that equal a reviewed row
        go, others are refused. It is applied on the plan's own target where `open_target` was
        given none. `allow_unsigned`: take a file whose signature is missing or cannot be checked.

        Raises as `apply`, and Stale where a plan is not genuine, was applied already, is for
        another target, or the manifests changed since.
        """
        from synapse_apply.operations import saved_plan
        from synapse_apply.operations.apply import ApplyRun
        from synapse_apply.operations.plan_arguments import PlanArguments

        arguments = PlanArguments.of(locals())
        if not isinstance(plans, saved_plan.ApprovedPlans):
            plans = self.read_saved_plan(plans)
        # The name is not trusted: the identity of that target's state must be the one in the plan.
        invocation = replace(self._invocation, target=self._invocation.target or plans.target)
        # Such a plan needs a session of its own: its target may be another one.
        self._last_plan = None
        self._connection.disconnect()
        with (
            self._connection.guarded(),
            plans.open_session(invocation) as session,
        ):
            options = plans.united_plan.with_current_rules(arguments.build_plan_options(session))
            options = replace(options, typed=(*arguments.typed, *plans.typed))
            if wait:
                plans.require_worth_waiting(session, allow_unsigned=allow_unsigned)
            apply_run = ApplyRun(session, options, observer, all_or_nothing=all_or_nothing)
            if wait:
                from synapse_apply.operations.settle import Settling

                Settling(session, apply_run.observer.wait).wait_until_certain(options.selected)
            return plans.apply(apply_run, allow_unsigned=allow_unsigned)

    def drift(
        self, *, only: Sequence[str] = (), exclude: Sequence[str] = (), unmanaged: bool = False
    ) -> Drift:
        """Find changes outside Git since the last apply. It takes no lock and writes nothing.

        `unmanaged` also lists live objects that nothing declares or records. What could not be read
        is an error among `diagnostics`. Raises InputError, StateError.
        """
        from synapse_apply.operations.drift import build_options_that_revert_drift, compute_drift
        from synapse_apply.operations.plan import plan
        from synapse_apply.operations.plan_arguments import PlanArguments

        arguments = PlanArguments.of(locals())
        with self._connection.ready(read_only=True) as session:
            selected = session.names.select(arguments.only, arguments.exclude)
            options = build_options_that_revert_drift(selected, arguments.typed)
            return compute_drift(session, plan(session, options), unmanaged=unmanaged)

    def write_drift(self, names: Sequence[str], *, dry_run: bool = False) -> Drift:
        """Write the live values of drifted resources to the files that declare them.

        No name writes nothing, `*` all that drifted; one that has not drifted is left out. A name
        with `*` is all that it matches and that drifted. Returns the drift with the edits
        (`written_edits`); `dry_run` only returns them. InputError, with every finding,
        where a value cannot be written: no file is changed then. Open the target again to plan
        with the new files.
        """
        from synapse_apply.operations.write_drift import write_named_drift

        names = connection.require_names("names", names)
        with self._connection.ready(read_only=True) as session:
            return write_named_drift(self._invocation, session, names, write=not dry_run)

    def import_objects(
        self,
        ids: Mapping[str, str] | InventoryRowsByAddress | Path | str,
        *,
        read_bytes: bool = True,
        warn: Callable[[Diagnostic], None] | None = None,
    ) -> list[Record]:
        """Record live objects under declared addresses, all or none, without changing the objects.

        `ids` has the id of the object for each name, or is the file of an inventory. Published
        bytes of releases are read unless `read_bytes` is False; `warn` gets what kept them from
        being read. InputError with every finding, StateError, LockHeld.
        """
        from synapse_apply.model.address import Address
        from synapse_apply.operations.import_ import record_all_live_objects_or_none
        from synapse_apply.workspace.inventory_rows import InventoryRow, read_inventory

        with self._connection.ready() as session:
            if isinstance(ids, (Path, str)):
                ids = read_inventory(self._path(ids))
            rows: dict[Address, InventoryRow] = {}
            for name, row in ids.items():
                if isinstance(row, InventoryRow) and isinstance(name, Address):
                    rows[name] = row
                else:
                    rows[session.names.choose(str(name))] = InventoryRow(str(row))
            return record_all_live_objects_or_none(
                session, rows, warn or (lambda _warning: None), reads_bytes=read_bytes
            )

    def history(self, limit: int = 20) -> list[PastRun]:
        """List up to `limit` runs that changed anything, newest first.

        StateError where there is no state.
        """
        from synapse_apply.operations.history import list_runs

        limit = connection.require_count("limit", limit)
        with self._connection.state_alone(read_only=True) as session:
            return list_runs(session, limit)

    def find_run(self, plan_id: str) -> PastRun:
        """Return the run of a plan with all its calls; `plan_id` may be the beginning of the id.

        InputError where none or several match, StateError where there is no state.
        """
        from synapse_apply.operations.history import require_run

        plan_id = connection.require_text("plan_id", plan_id)
        with self._connection.state_alone(read_only=True) as session:
            return require_run(session, plan_id)

    def verify(
        self,
        releases: Sequence[str],
        *,
        timeout: float | None = None,
        observer: ApplyObserver | None = None,
    ) -> Report:
        """Run releases now as their manifests declare, even if they have passed.

        Nothing else is sent. `timeout`, in seconds, overrides that of the manifests. Raises as
        `apply`; InputError also for what cannot be run.
        """
        from synapse_apply.operations.verify import verify_releases

        releases = connection.require_names("releases", releases)
        with self._connection.ready() as session:
            return verify_releases(session, releases, observer, timeout=timeout)

    def compare_published_bytes(self, releases: Sequence[str]) -> list[ComparedBytes]:
        """Compare the published packages of releases with the state, and record new digests.

        Runs nothing and sends nothing. Raises InputError, StateError, LockHeld.
        """
        from synapse_apply.operations.verify import compare_published

        releases = connection.require_names("releases", releases)
        with self._connection.ready() as session:
            return compare_published(session, releases)

    def diagnose(self, *, probe_bucket: bool = True) -> Checkup:
        """Check everything about the target, as `doctor` does.

        Writes nothing but one object in the bucket of a state, which it deletes; without
        `probe_bucket` not even that.
        """
        from synapse_apply.operations.doctor import run_all_checks

        with self._connection.guarded():
            return run_all_checks(self._invocation, probe_bucket=probe_bucket)

    @property
    def token_origin(self) -> str:
        """The source of the token, such as `env ACME_TOKEN` or `none`, never its value."""
        with self._connection.ready(read_only=True) as session:
            token = session.target.token
            return f"{token.source} {token.name}".rstrip() if token is not None else "none"

    def has_work_without_permission(self, plan: Plan) -> bool:
        """Check whether an apply of the newest plan of this object would act without a call.

        Such as to rename addresses, to update records to what is so already, to follow a run whose
        job is known, and to record what became of calls of an earlier run. False for a plan that an
        error or a guard stops.
        """
        from synapse_apply.planning import narrow

        if narrow.has_work_without_permission(plan):
            return True
        if self._last_plan is None:
            return False
        source = self._last_plan[0]
        return (
            source.plan.id == plan.id
            and not (plan.has_errors or plan.guards)
            and any(not resolved.is_open for resolved in source.resolved_intents)
        )

    def mark_drift_of_commits(self, plan: Plan, live_commit: str) -> Plan:
        """Mark drifted rows of a plan that only commits after `live_commit` explain (`of_git`).

        There a field of it was ignored, kept (`on_drift: hold`), not owned, or declared otherwise,
        or its resource not declared, or in another API version. All that drifted is marked where
        that commit cannot be read. It is the last of which nothing was left to do, "" for none.
        """
        from synapse_apply.model.plan import Action, Cause
        from synapse_apply.workspace.offline_target import OfflineTarget

        drifted = {
            change.address
            for change in plan.changes
            if change.action is Action.RECREATE
            or (
                change.action is Action.UPDATE
                and change.field_causes <= {Cause.DRIFT, Cause.SECRET}
            )
        }
        with self._connection.ready(read_only=True) as session:
            if not drifted or live_commit in {"", session.invocation.as_of}:
                return plan
            before = OfflineTarget(replace(session.invocation, as_of=live_commit))
            # Each address is in one chain of renames at most.
            moved = {move.new: move.old for move in session.project.moved}
            with suppress(SynapseApplyError):
                for change in [each for each in plan.changes if each.address in drifted]:
                    address, kind = change.address, change.address.kind
                    while address not in before.desired and address in moved:
                        address = moved.pop(address)
                    if (
                        (old := before.desired.get(address)) is not None
                        and before.select_binding(kind) is session.select_binding(kind)
                        and not _is_of_commits(
                            change, old, session.desired[change.address], before.target.on_drift
                        )
                    ):
                        drifted.remove(change.address)
        changes = (replace(c, of_git=True) if c.address in drifted else c for c in plan.changes)
        return replace(plan, changes=tuple(changes))

    def wait_out_lock_owner(self) -> bool:
        """Wait for a sign of life of the run that locks the state; True where it is lost, or gone.

        From then on a lost run counts as ended for this target.
        """
        with self._connection.ready(read_only=True) as session:
            return session.store.wait_out_lock_owner()

    def find_guarded(self, plan: Plan) -> set[Address]:
        """Find the updates of a plan that lock an object, or change what a policy rule checks."""
        from synapse_apply.planning.policy import list_named_fields

        def is_guarded(change: Change) -> bool:
            seal = session.select_binding(change.address.kind).final_call
            names = list_named_fields(session.target.policy, change.address)
            return any(
                one.path[0] in names or (seal is not None and seal.makes_change(one))
                for one in change.fields
            )

        with self._connection.ready(read_only=True) as session:
            return {one.address for one in plan.changes if one.fields and is_guarded(one)}

    def read_labels(self) -> dict[Address, Mapping[str, str]]:
        """Return the labels of the declared resources."""
        with self._connection.ready(read_only=True) as session:
            return {address: one.labels for address, one in session.desired.items()}

    def find_last_writers(self, plan: Plan, who: str) -> dict[Address, str]:
        """Find who made the last call of each change from Git, in the state's audit.

        `who` is left out, and whom the newest 1,000 entries do not have.
        """
        from synapse_apply.model.plan import Cause

        wanted = {each.address for each in plan.changes if each.field_causes - {Cause.DRIFT}}
        if not wanted:
            return {}
        with self._connection.ready(read_only=True) as session:
            entries = session.store.list_audit_entries_newest_first()
        last = {entry.address: entry.who for entry in reversed(entries)}
        names = {address: last.get(str(address), "") for address in wanted}
        return {address: name for address, name in names.items() if name.partition(",")[0] != who}

    def blame_changes(self, plan: Plan) -> Plan:
        """Return the newest plan of this object, with the source of each changed live value.

        Of some fields, in `blame` of its changes; the plan itself where that cannot be told.
        """
        from synapse_apply.operations.blame import blame_changes

        if self._last_plan is None or self._last_plan[0].plan.id != plan.id:
            return plan
        with (
            suppress(SynapseApplyError),
            self._connection.ready(read_only=True) as session,
        ):
            return blame_changes(session, self._last_plan[0], plan)
        return plan

    def apply_permitted(
        self, choose: Callable[[Plan], PermittedRows], *, run_id: str, who: str, operation: str,
        permit: CallPermit | None = None, prune: bool = False, allow_locked: bool = False,
        adopt: bool = True, recreate: bool = False, verify: bool = True,
        revert_drift: bool = False, observer: ApplyObserver | None = None,
    ) -> PermittedApply:  # fmt: skip
        """Plan under the state's lock, and apply the rows that `choose` permits.

        `choose` gets that plan, which has no errors, and is called once; other rows are left as
        they are, and so are those that need them. Each approval that it names is used up in the
        transaction that begins the row, and given back by one that certainly did nothing. The
        report has `run_id` as the plan's id, as have the audit, in which `who` stands, and the
        state. `operation` is what others see who wait for the lock. `permit` is asked before each
        call begins: without one, what has begun ends and is recorded, and the rest is skipped with
        the permit's reason. The options are those of `plan()`.

        A call that fails is in the report. Raised before the first call: LockHeld, InputError for
        a plan with errors, Refused by a guard that is left and not overridden, SecretUnavailable,
        StateError.
        """
        from synapse_apply.operations.apply import ApplyRun
        from synapse_apply.operations.plan_arguments import PlanArguments

        arguments = PlanArguments.of(locals(), allow_replace=True)
        names = {"run_id": run_id, "who": who, "operation": operation}
        names = {
            argument: connection.require_text(argument, text) for argument, text in names.items()
        }
        with self._connection.ready() as session:
            apply_run = ApplyRun(session, arguments.build_plan_options(session), observer)
            return apply_run.apply_permitted(choose, permit, **names)

    def _path(self, file: Path | str) -> Path:
        self._connection.require_open()
        return connection.require_path("file", file, self._invocation.directory)


def _is_of_commits(change: Change, old: Desired, new: Desired, old_on_drift: str) -> bool:
    """Whether a field was declared otherwise, or so that it would not have been sent."""
    from synapse_apply.model.plan import Action, Cause

    is_update, was, now = change.action is Action.UPDATE, old.lifecycle, new.lifecycle
    return any(
        (declared := get_at_or_absent(new.spec, path)) != get_at_or_absent(old.spec, path)
        or (is_update and is_at_or_below(path, was.ignore_changes))
        or (declared is ABSENT and is_at_or_below(path, now.own) > is_at_or_below(path, was.own))
        or (old_on_drift == "hold" and cause is Cause.DRIFT)
        for path, cause in ((field.path, field.cause) for field in change.fields)
    )
