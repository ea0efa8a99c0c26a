"""The commands of `state`: what each prints, and what it may change of a state."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry, typed
from synapse_apply.cli.console import Console, is_approved, require_approval_way
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.options import option
from synapse_apply.cli.typed import ADDRESS, RECORDED_NAME
from synapse_apply.model.command import Command, Text
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import (
        AcceptableResource,
        JournalContent,
        OpenCalls,
        Rebinding,
        StateExchange,
    )
    from synapse_apply.model.address import Address
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.model.state import State
    from synapse_apply.model.values import SecretRef


_NOTHING_CHANGED = "Nothing was changed."


@click.group("state", cls=LazyGroup, entries=registry.STATE)
def group() -> None:
    """Manage a target's state: which live object belongs to which address, and what was sent.

    No command of this group changes a live object. A state contains no secrets.
    """


@manual_command(
    "init",
    examples={
        "state init -t prod": "Create the state of a new target, whose backend has no objects yet.",
        "state init -t prod --lineage 5f1c2d60-0000-4000-8000-0123456789ab": (
            "Create an empty state even though the project file pins a lineage."
        ),
        "state init -t prod --key-file /run/keys/prod.key": (
            "In a script, create a shared state and write its key to a file."
        ),
        "state init -t prod --pin": "Also pin the lineage in the project file.",
        "state init -t 'prod-*'": "Create a state for each matching target.",
    },
    exits={
        "0": "created",
        "1": "the state already exists, a pinned lineage does not allow it, or a key is missing",
    },
)
@options.use("json", "targets")
@click.option(
    "--lineage",
    default="",
    metavar="UUID",
    callback=typed.parse_lineage,
    hidden=True,  # an error names it where a pin or an earlier state asks for it
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Create the key for a shared state in this file.",
)
@option("--pin", "Write the lineage to the project file, so that no other state is accepted.")
def init(*, console: Console, invocation: Invocation, lineage: str, key_file: Path | None,
         pin: bool) -> int:  # fmt: skip
    """Create an empty state for one or several targets.

    A state records which live object belongs to which address. Without it, apply could create
    duplicates of existing objects. So no command creates a state automatically, except for target
    `embedded`.

    A state that several machines share is bound to a state key and to an id in the project file.
    If the project file has no id, the command adds one. If there is no key, it creates one in your
    configuration folder (~/.config/synapse-apply); a non-interactive run needs --key-file. Every
    machine and job needs the key.

    The command also tries to read the backend's features, such as whether you can adopt existing
    plugins. It creates the state even if that fails.

    Targets that already have a state keep it.
    """
    with options.open_target(invocation) as target:
        if console.section is not None and target.state.exists():
            console.section.document = {"target": target.name, "made": False}
            console.write_note(f"Target {target.name} already has a state.")
            return 0
        created_state = target.state.create(lineage=lineage, key_file=key_file, pin=pin)
        offer = target.live.read_offer()
    return cli.state.print_created_state(console, created_state, offer)


@manual_command(
    "show",
    examples={
        "state show": "List all records.",
        "state show plugin/yolo": "Show what was sent, and when.",
        "state show plugin/yolo --json": "Print JSON for a script.",
        "state show --inventory > inventory.yaml": (
            "Keep this file: with it, `import -f` can restore the ids of a lost state."
        ),
    },
    exits={"0": "shown", "1": "the address has no record"},
)
@options.use("json", "targets")
@click.argument("name", type=RECORDED_NAME, metavar="[ADDRESS]", required=False)
@option(
    "--inventory", "Print address, id, version and digest of every record as YAML, for `import -f`."
)
def show(*, console: Console, invocation: Invocation, name: str | None, inventory: bool) -> int:
    """List the records of the state, or show one record. A state contains no secrets.

    The list shows each record's address, live object id, API version and last write. It also shows
    calls that are open or may still take effect, and files with calls that are missing from the
    state (`state record` records them).
    """
    if inventory and name:
        raise click.UsageError("--inventory prints all records and takes no ADDRESS.")
    with options.open_target(invocation) as target:
        if inventory:
            if console.as_json:
                console.write_or_keep_document({"inventory": target.state.list_inventory()})
            else:
                console.write_output(target.state.format_inventory())
            return 0
        record = target.state.find_record(name) if name else None
        state, open_calls = target.state.read_with_open_calls()
    if record is None:
        return _print_records(console, state, open_calls)
    told = (*open_calls.findings, *open_calls.untold)
    findings = [one for one in told if one.address == str(record.address)]
    calls = tuple(one for one in open_calls.calls if one.intent.address == record.address)
    console.write_findings(findings)
    if console.as_json:
        names = ("id", "verb", "plan_id", "sent_at")
        opened = [{name: getattr(one.intent, name) for name in names} for one in calls]
        diagnostics = [finding.to_json() for finding in findings]
        document = cli.documents.record_document(record)
        console.write_or_keep_document({**document, "open": opened, "diagnostics": diagnostics})
    else:
        console.write_output(cli.record.render_record(record, **console.layout))
        _print_open_calls(console, replace(open_calls, calls=calls))
    return 0


def _print_records(console: Console, state: State, open_calls: OpenCalls) -> int:
    records = [record for _, record in sorted(state.records.items())]
    findings = [*open_calls.findings, *open_calls.untold]
    console.write_findings(findings)
    if console.as_json:
        console.write_or_keep_document(
            {
                "lineage": state.lineage,
                "serial": state.serial,
                "records": [cli.documents.record_document(record) for record in records],
                "open": [str(call.intent.address) for call in open_calls.calls],
                "diagnostics": [finding.to_json() for finding in findings],
            }
        )
        return 0
    marks = {finding.address: "may still act" for finding in open_calls.findings}
    marks |= {str(call.intent.address): "outcome unknown" for call in open_calls.calls}
    if records:
        rows = [
            (one.address, one.remote_id, one.api, one.updated_at[:19] + "Z")
            + ((marks.get(str(one.address), ""),) if marks else ())
            for one in records
        ]
        heads = ("address", "id", "api", "updated", *(("call",) if marks else ()))
        table = cli.terminal.render_table(heads, rows, color=console.is_output_colored)
        console.write_output(table)
    else:
        console.write_stderr("The state has no records.\n")
    _print_open_calls(console, open_calls)
    return 0


def _print_open_calls(console: Console, open_calls: OpenCalls) -> None:
    advices = {(call.intent.address, call.advice): None for call in open_calls.calls}
    for address, text in advices:
        advice = console.name_target(text)
        console.write_stderr(f"Outcome unknown: {address}. {advice}.\n")


@manual_command(
    "key",
    examples={
        "state key -t prod": "Show the id of the key, where it is, and how a pipeline gets it.",
        "state key copy prod.key -t prod": "Use a key from another machine on this machine.",
    },
    exits={"0": "shown, or copied", "1": "there is no key, or the state uses a different key"},
)
@options.use("json", "target")
@click.argument("action", metavar="[show|copy]", type=click.Choice(["show", "copy"]),
                default="show")  # fmt: skip
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
def key(*, console: Console, invocation: Invocation, action: str, file: Path | None) -> int:
    """Show which key digests and signs the state's secrets, or copy the key.

    Every machine that shares a state needs the same key. `show` prints the key's id, where the key
    is, whether the state was created with it, and how to pass it to a pipeline. It never prints the
    key.

    `copy` writes a key to the place where commands on this machine look for it: your configuration
    folder (~/.config/synapse-apply). It copies the key in FILE, which another machine wrote, or the
    current key if you omit FILE.
    """
    if action == "show" and file:
        raise click.UsageError("FILE can only be used with `copy`.")
    with options.open_target(invocation) as target:
        if action == "show":
            return cli.state.print_key(console, target.state.read_key())
        return cli.state.print_key(console, *target.state.copy_key(file))


@manual_command(
    "rm",
    examples={"state rm plugin/yolo": "Forget the plugin's record. The plugin still exists."},
    exits={"0": "forgotten", "1": "an address has no record; nothing was forgotten"},
)
@options.use("color", "target")
@click.argument("names", type=RECORDED_NAME, nargs=-1, required=True, metavar="ADDRESS...")
def rm(*, console: Console, invocation: Invocation, names: tuple[str, ...]) -> int:
    """Forget records. The live objects do not change.

    Calls for these addresses that may still take effect stay open: apply refuses the address until
    they are settled.

    The next apply adopts an object that is still declared, if it can find the object. On API v1 it
    cannot find plugins: import the plugin again, or apply creates a duplicate.
    """
    with options.open_target(invocation) as target:
        addresses = target.state.forget(names)
        _, open_calls = target.state.read_with_open_calls()
    names = tuple(map(str, addresses))
    console.write_findings([one for one in open_calls.findings if one.address in {None, *names}])
    for address in addresses:
        console.write_output(f"Forgot {address}. The live object still exists.\n")
    return 0


@manual_command(
    "mv",
    examples={
        "state mv plugin/yolo plugin/yolo-v8": "Rename the address after you renamed the manifest.",
        "state mv plugin/yolo -t old --to new": "Let target `new` manage the plugin.",
    },
    exits={
        "0": "renamed, or moved",
        "1": "the old address has no record, the new address is already taken, or manifests of the "
        "first target still manage the object",
        "6": "a state is locked by another run",
    },
)
@options.use("color", "target", "variables")
@click.argument("name", type=RECORDED_NAME, metavar="OLD")
@click.argument("new", type=ADDRESS, required=False)
@option("--to TARGET", "Move the record to the state of this target.", default="")
@option(
    "--to-project FILE",
    "The project file that declares the target of --to (default: this project's).",
    type=click.Path(dir_okay=False, path_type=Path),
)
def mv(*, console: Console, invocation: Invocation, name: str, new: Address | None, to: str,
       to_project: Path | None) -> int:  # fmt: skip
    """Rename an address in the state, or move it to another state, with its releases.

    The live objects do not change. Before you move an object with --to, add
    `lifecycle: {external: true}` to its manifest for the first target. If the command is
    interrupted, run it again.
    """
    if not (new or to):
        raise click.UsageError("Specify the new address, or --to TARGET.")
    if to_project is not None and not to:
        raise click.UsageError("--to-project needs --to TARGET.")
    with options.open_target(invocation) as target:
        if to:
            place = replace(invocation, target=to)
            if to_project is not None:  # its variables are its own
                project = invocation.directory / to_project
                place = replace(place, project=project, variables={}, variable_files=())
            with options.open_target(place) as other:
                renames = target.state.hand_over(
                    name, other.state, new or "", warn=lambda told: console.write_findings([told])
                )
        elif new is not None:
            renames = target.state.rename(name, new)
    where = f" of target {to}" if to else ""
    console.write_output(
        "".join(
            f"Moved {old_address} to {new_address}{where}.\n"
            for old_address, new_address in renames.items()
        )
    )
    return 0


@manual_command(
    "accept",
    examples={
        "state accept storage/raw-data": "Accept a change that you made both in Synapse and in "
        "the storage's manifest.",
        "state accept storage/raw-data --undo": "Show the accepted difference in plans again.",
        "state accept storage/raw-data --until 2026-12-31 --reason 'Ticket 12'": (
            "Show the difference again after the end of 2026."
        ),
    },
    exits={
        "0": "recorded",
        "1": "the resource is not declared, recorded or live, or the answer was not `yes`",
        "6": "the state is locked by another run",
    },
)
@options.use("color", "target", "variables")
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@option("--undo", "Undo the acceptance for this resource.")
@option("--until DAY", "The last day (UTC) of the acceptance.", default="")
@option("--reason TEXT", "The reason for the acceptance; needs --until.", default="")
@option("--auto-approve", "Do not ask for approval.")
def accept(
    *,
    console: Console,
    invocation: Invocation,
    name: str,
    undo: bool,
    until: str,
    reason: str,
    auto_approve: bool,
) -> int:
    """Accept the live object with its current values: the declared values are treated as applied.

    Use it for changes that the API cannot make: change the object in Synapse and the manifest in
    Git, then accept the object. The command lists the remaining differences and asks for
    confirmation before it accepts them. From then on `plan`, `drift`, `doctor` and `show` report an
    accepted difference instead of a change or drift, until the live or the declared value changes.
    If the answer to a create was lost, nobody can tell who published the release's package: the
    command then records that the package is yours.

    With --until, the acceptance ends after that day (UTC), and plans show the difference again.
    `plan` and `doctor` warn you a week before that day. Each `state accept` of the resource sets a
    new end.

    With --undo, plans show the accepted differences again. --undo needs neither manifests nor a
    backend.
    """
    if (undo and until) or (reason and not until):
        raise click.UsageError(
            "--until cannot be combined with --undo, and --reason needs --until."
        )
    if undo:
        with options.open_target(invocation) as target:
            undone = target.state.undo_accept(name)
        console.write_output(cli.state.format_undone_acceptance(*undone))
        return 0

    def show_and_confirm(acceptable: AcceptableResource) -> bool:
        question, detail = cli.state.show_acceptable(console, acceptable)
        return not question or is_approved(
            console, question, detail, given=auto_approve, verb="state accept",
        )  # fmt: skip

    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:
        accepted = target.state.accept(name, confirm=show_and_confirm, until=until, reason=reason)
    console.write_output(cli.state.format_accepted(accepted, until))
    return 0


@manual_command(
    "settle",
    examples={
        "state settle -t prod": "Look up every call whose outcome is unknown.",
        "state settle storage/raw-data": "Look up only the calls of this address.",
        "state settle -t prod --wait": "After a killed run: wait until every outcome is known.",
        "state settle --json": "Print the outcome of each call for a script.",
        "state settle plugin/yolo --absent": "Record that the plugin was not created.",
        "state settle release/yolo@1.1.0 --job 12": "Record that the call started job 12.",
    },
    exits={
        "0": "no call is open; with --absent or --job: the call is closed",
        "1": "error, or the address has no open call",
        "6": "the state is locked by another run",
        "7": "a call is still open; the output says what to do",
    },
)
@options.use("json", "target", "variables")
@click.argument("names", nargs=-1, type=RECORDED_NAME, metavar="[ADDRESS]...")
@options.use("wait")
@option(
    "--absent",
    "Record that the calls were not done, after you have checked that none of them had an effect.",
)
@option(
    "--job ID",
    "Use this job as the result of the run, after you have checked that the run started it. The "
    "command reads the job.",
)
@options.use("lock_timeout")
def settle(
    *,
    console: Console,
    invocation: Invocation,
    names: tuple[str, ...],
    wait: bool,
    absent: bool,
    job: str | None,
) -> int:
    """Look up calls whose outcome is unknown, and record how they ended.

    The command changes no object. A killed run or a lost connection leaves calls open. `apply`
    looks them up before it sends anything; this command only looks them up.

    Only after a call can no longer arrive is it certain that it had no effect. --wait waits until
    then without locking the state.

    If the backend cannot tell, the plan refuses the resource until you specify how the call ended:
    --absent if it was not done, or --job if it started a run, which the next apply follows. If the
    object exists, use `synapse-apply import ADDRESS ID` instead. If a run could not record its
    calls, use `synapse-apply state record FILE`.
    """
    if not (absent or job):
        callback = cli.observer.build_wait_callback(console, time.sleep) if wait else None
        with options.open_target(invocation) as target:
            settled = target.state.settle(names, wait=callback)
        return cli.state.print_settled_calls(console, settled)
    if len(names) != 1 or (absent and job) or wait or console.as_json:
        raise click.UsageError(
            "--absent and --job need exactly one ADDRESS, and cannot be combined with each "
            "other, --wait or --json."
        )
    warnings: list[Diagnostic] = []
    with options.open_target(invocation) as target:
        if job:
            address = target.state.settle_with_job(names[0], job).address
            text = f"its run is job {job}. The next apply follows it."
        else:
            intent = target.state.settle_as_not_done(names[0], warn=warnings.append)
            address = intent.address
            text = f"{intent.verb} was not done. The next apply may do it."
    console.write_findings(warnings)
    console.write_output(f"Settled {address}: {text}\n")
    return 0


@manual_command(
    "rebind",
    examples={
        "state rebind -t prod": (
            "Use this after the backend's url changed, or if a shared state has no project yet."
        ),
    },
    exits={"0": "bound", "1": "error, or the answer was not `yes`"},
)
@options.use("color", "target")
@option("--auto-approve", "Do not ask for approval.")
def rebind(*, console: Console, invocation: Invocation, auto_approve: bool) -> int:
    """Bind the state to the target's current url and tenant, and to this project.

    Do this only if it is the same backend under another name: the state's ids must belong to the
    same objects there.

    A state that several machines share belongs to one project, by an id in the project file, and to
    one target, by the target's name. The command writes the id to the project file if it is
    missing. From then on, runs with a project file without this id, or on another target, are
    refused. To merge the id first, write it yourself: `project: {id: UUID}`.
    """

    def confirm_change(rebinding: Rebinding) -> bool:
        question = f"Bind the state of {rebinding.bound_text} to {rebinding.new_text}?"
        return is_approved(
            console, question, rebinding.warning_text, given=auto_approve, verb="state rebind"
        )

    require_approval_way(console, is_approved=auto_approve, verb="state rebind")
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:
        rebinding = target.state.rebind(confirm=confirm_change)
    if not rebinding.changes_anything:
        console.write_output(f"The state is already bound to {rebinding.new_text}.\n")
        return 0
    if rebinding.project_id is not None and rebinding.project_id.is_new:
        console.write_output(
            f"Wrote project.id {rebinding.project_id.text} to the project file. Commit the file.\n"
        )
    console.write_output(
        f"The state was bound to {rebinding.bound_text} and is now bound to {rebinding.new_text}.\n"
    )
    return 0


_UNSIGNED_FLAG = "--allow-unsigned"
_SHUT_OUT_TEXT = (
    "Every other machine and job is refused until it has the new key instead of the former key."
)


@manual_command(
    "rekey",
    examples={"state rekey -t prod": "Run this after you set a new SYNAPSE_APPLY_STATE_KEY."},
    exits={
        "0": "success; the output lists each digest that keeps its old key",
        "1": "error, or the answer was not `yes`; nothing was changed",
    },
    environment={
        "SYNAPSE_APPLY_STATE_KEY": (
            "the new key; if it is not set, the command creates a key where the old key is"
        ),
    },
)
@options.use("json", "target", "variables")
@option("--auto-approve", "Do not ask for confirmation before the key of a shared state changes.")
@click.option(
    _UNSIGNED_FLAG,
    is_flag=True,
    help="Do not ask for confirmation before the command signs unverified entries.",
)
def rekey(
    *, console: Console, invocation: Invocation, auto_approve: bool, allow_unsigned: bool
) -> int:
    """Compute the digests of the recorded secrets with a different state key.

    The command resolves each secret again, so it needs every secret that the manifests name. A
    secret that cannot be resolved keeps its old digest, and plans do not check it until you run
    this command with the secret. The command also signs the results of runs again, if the former
    key is available, for example as .synapse-apply/state/TARGET.key.previous.

    A state that several machines share then accepts only the new key: a machine with the former key
    is refused until it has the new one. So the command asks for confirmation first. A
    non-interactive run needs --auto-approve.

    The command first verifies a state in a bucket or in Git, which requires the former key in
    addition to the new key. The command stops at an entry that the former key did not sign. Without
    the former key, the command cannot verify anything and asks whether to trust all entries. A
    non-interactive run needs --allow-unsigned.
    """
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:

        def confirm_unverified(finding: Diagnostic) -> bool:
            question = f"Sign the entries of target {target.name} without verifying them?"
            console.write_findings((finding,))
            return is_approved(
                console, question, finding.detail, given=allow_unsigned, verb="state rekey",
                flag=_UNSIGNED_FLAG,
            )  # fmt: skip

        def confirm_new_key() -> bool:
            question = f"Change the key of the shared state of target {target.name}?"
            return is_approved(
                console, question, _SHUT_OUT_TEXT, given=auto_approve, verb="state rekey"
            )

        result = target.state.rekey(confirm=confirm_new_key, confirm_unverified=confirm_unverified)
    console.write_findings(result.warnings)
    if console.as_json:
        console.write_or_keep_document(
            {
                "key_id": result.key_id,
                "done": result.rekeyed_count,
                "signed": result.signed_count,
                "kept": list(result.kept_reasons),
                "key_file": str(result.key_file) if result.key_file else None,
            }
        )
        return 0
    for kept_reason in console.name_target(result.kept_reasons):
        console.write_stderr(f"Kept under its old key: {kept_reason}\n")
    secrets = format_count_and_noun(result.rekeyed_count, "secret")
    lines = [f"Computed the digests of {secrets} with key {result.key_id}."]
    if result.is_continued:
        lines.append("That key is from an interrupted `state rekey`; no other key was created.")
    if result.signed_count:
        runs = format_count_and_noun(result.signed_count, "run")
        lines.append(f"Signed the results of {runs} with this key.")
    if result.shuts_out_others:
        lines += [_SHUT_OUT_TEXT, *result.new_key_lines]
    console.write_output("".join(f"{line}\n" for line in lines))
    return 0


@manual_command(
    "backup",
    examples={
        "state backup prod.backup": "Write a copy for `state restore`.",
        "state backup -t prod --to postgresql://apply@db.example/states": (
            "Copy the local state to a database that runners share."
        ),
        "state backup -t prod --to '{env: STATE_URL}'": (
            "Read the url with its password from a variable, as in the project file."
        ),
    },
    exits={
        "0": "written; with --to: copied and compared",
        "1": "the state does not exist, the copy cannot be written, or --to already has a state",
    },
)
@options.use("color", "target")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@option(
    "--to URL",
    "The store to copy to: a url. If the url contains a password, use '{env: NAME}' as in "
    "the project file, so that nobody else on this machine can see it.",
    name="url",
    callback=typed.parse_url_or_reference,
)
def backup(
    *, console: Console, invocation: Invocation, file: Path | None, url: str | SecretRef | None
) -> int:
    """Copy the whole state, including its history, to a file or to another store.

    The copy is consistent even during an apply. With --to, the command compares the copy with the
    original, which does not change. Then set `state.url` in the project file, and move the old file
    away so that nobody continues to write to it.
    """
    if url is None:
        if file is None:
            raise click.UsageError("Give a FILE or --to URL.")
        with options.open_target(invocation) as target:
            target.state.write_backup(file)
        console.write_output(f"Wrote {file}.\n")
        return 0
    if file is not None:
        raise click.UsageError("Give a FILE or --to URL, not both.")
    with options.open_target(invocation) as target:
        copied_state, name = target.state.copy_to(url), target.name
        next_steps = target.state.list_steps_after_copy(url)
    records = format_count_and_noun(len(copied_state.records), "record")
    setting_text = "" if isinstance(url, str) else f": {{env: {url.name}}}"
    lines = (
        f"Copied {records} of target {name} (serial {copied_state.serial}).",
        f"Now set targets.{name}.state.url{setting_text} in the project file.",
        *next_steps,
    )
    console.write_output("".join(f"{line}\n" for line in lines))
    return 0


@manual_command(
    "restore",
    examples={
        "state restore prod.backup -t prod": "Replace the state of target prod with a backup.",
    },
    exits={
        "0": "restored",
        "1": "the file is not a backup of this target, or the answer was not `yes`",
        "6": "the state is locked by another run",
    },
)
@options.use("color", "target")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@option("--auto-approve", "Do not ask for confirmation before the command replaces a state.")
def restore(*, console: Console, invocation: Invocation, file: Path, auto_approve: bool) -> int:
    """Replace the state with a backup.

    The backup must be from this target: with its url, its tenant, and the lineage that the project
    file pins. The command keeps the replaced state and prints its location: a file next to the
    state, or in .synapse-apply/state for a state in PostgreSQL. The state then lacks everything
    that was applied after the backup: run `plan` and review the plan carefully.
    """
    if not (invocation.directory / file).is_file():
        raise click.BadParameter(f"File {str(file)!r} does not exist.", param_hint="FILE")
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:

        def confirm_replacement(exchange: StateExchange) -> bool:
            question = f"Replace the state of target {target.name}?"
            detail = exchange.lineage_difference or (
                "The state forgets what was applied since the backup."
            )
            return is_approved(console, question, detail, given=auto_approve, verb="state restore")

        restored_state = target.state.restore(file, confirm=confirm_replacement)
    console.write_findings(restored_state.warnings)
    if kept_location := restored_state.kept_location:
        console.write_output(f"The replaced state is kept as {kept_location}.\n")
    next_step = options.add_invocation_options(Text("Run ", Command("plan"), " next."), invocation)
    console.write_output(f"Restored from {file}. {next_step}\n")
    return 0


@manual_command(
    "record",
    examples={
        "state record .synapse-apply/unrecorded-prod-5f1c.jsonl -t prod": (
            "Record the calls of a run after the disk has space again."
        ),
    },
    exits={
        "0": "the state has all calls of the file",
        "1": "the file is not usable or contradicts the state, or the answer was not `yes`",
        "6": "the state is locked by another run",
    },
)
@options.use("color", "target")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    _UNSIGNED_FLAG,
    is_flag=True,
    help="Do not ask for confirmation before the command uses an unsigned file.",
)
def record(*, console: Console, invocation: Invocation, file: Path, allow_unsigned: bool) -> int:
    """Record calls of a run that could not write the state.

    If a run cannot write the state (a full disk, a lost database), it writes its calls to a file
    next to the project, unrecorded-TARGET-PLAN.jsonl, and names the file in its report. The command
    skips calls that the state already has. It removes the file when everything is recorded.

    Each line is signed with the state key. The command refuses a file that was changed. If the
    current key did not sign a file (for example, a run had no key), the command shows each line and
    asks before it records the calls.
    """
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:

        def show_and_confirm(journal: JournalContent) -> bool:
            # All that an unsigned journal says, before the user is asked about it.
            cli.state.print_journal(console, file, journal)
            question = f"Record these calls in the state of target {target.name}?"
            detail = "Answer `yes` only if the report of one of your runs named this file."
            return is_approved(
                console, question, detail, given=allow_unsigned, verb="state record",
                flag=_UNSIGNED_FLAG,
            )  # fmt: skip

        recovered_calls = target.state.record_calls(file, confirm=show_and_confirm)
    for intent in recovered_calls.recorded_intents:
        is_given_up = intent.id in recovered_calls.given_up_ids
        console.write_output(
            f"Recorded {'the outcome of ' * is_given_up}{intent.verb} of {intent.address} "
            f"(id {intent.remote_id or 'none'})."
            + " The call was given up before, and the record keeps its values." * is_given_up
            + "\n"
        )
    console.write_output(
        f"Recorded: {len(recovered_calls.recorded_intents)}. Known before: "
        f"{len(recovered_calls.known_intents)}. Removed {file}.\n"
    )
    console.write_findings(recovered_calls.findings)
    return 0


@manual_command(
    "history",
    examples={
        "state history -t prod": "List the newest runs that changed something.",
        "state history show 5f1c2d": ("Show every call of one run, by the start of its plan id."),
        "state history --limit 1 --json": "Print the newest run with its calls as JSON.",
    },
    exits={"0": "shown", "1": "the plan or the state does not exist"},
)
@options.use("json", "targets")
@click.argument("words", nargs=-1, metavar="[show PLAN_ID]")
@option(
    "--limit N", "How many runs to list.", type=click.IntRange(min=1), default=20, show_default=True
)
def history(*, console: Console, invocation: Invocation, words: tuple[str, ...], limit: int) -> int:
    """List the runs on a target, each with its time, user, CI run and plan.

    `state history show PLAN_ID` lists every call of one plan that changed something: address, verb,
    id of the object, the server's request id, a digest of the sent data, and the outcome. It never
    shows values. The history also lists changes to the state alone: moves, imports, and adopted or
    forgotten objects.
    """
    if words and (words[0] != "show" or len(words) != 2):
        raise click.UsageError("Use `state history`, or `state history show PLAN_ID`.")
    with options.open_target(invocation) as target:
        if words:
            return cli.state.print_run_with_calls(console, target.find_run(words[1]))
        return cli.state.print_runs_table(console, target.history(limit))


class _LockIdType(click.types.StringParamType):
    """A text; where it is missing the error says what shows it."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Where the id of a lock is shown."""
        del param, ctx
        return "The message about the lock shows its id, and so does `doctor`."


@manual_command(
    "unlock",
    examples={"state unlock 7-3f2a9c -t prod": "Remove a stale lock from the state."},
    exits={"0": "removed", "1": "there is no lock, or the lock has another id"},
)
@options.use("color", "target")
@click.argument("lock_id", metavar="ID", type=_LockIdType())
def unlock(*, console: Console, invocation: Invocation, lock_id: str) -> int:
    """Remove a stale lock from the state.

    The error message about the lock shows its ID, as does `doctor`. You rarely need this command:
    the tool detects a dead run on this machine immediately, and one on another machine when its
    lease ends. If the run is still alive, it can no longer write to the state.
    """
    with options.open_target(invocation) as target:
        target.state.unlock(lock_id)
        name = target.name
    console.write_output(f"Removed lock {lock_id} of target {name}.\n")
    return 0
