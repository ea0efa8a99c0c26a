"""The commands of `state`: what each prints, and what it may change of a state."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry, typed
from synapse_apply.cli.console import Console, is_approved, require_approval_way
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.typed import ADDRESS, RECORDED_NAME
from synapse_apply.model.command import Command, Text
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
    """Manage a state: which live object belongs to which address, and what was sent to it.

    Nothing here changes a live object. A state holds no secret.
    """


@manual_command(
    "init",
    examples=[
        ("synapse-apply state init -t prod", "A new target: nothing exists there yet."),
        (
            "synapse-apply state init -t prod --lineage 5f1c2d60-0000-4000-8000-0123456789ab",
            "Where the project file pins a lineage: make an empty state anyway.",
        ),
        (
            "synapse-apply state init -t prod --key-file /run/keys/prod.key",
            "A state that several machines share, from a script: where its key goes.",
        ),
        ("synapse-apply state init -t prod --pin", "And pin it in the project file."),
        ("synapse-apply state init -t 'prod-*'", "A state for each of several targets."),
    ],
    exits=[("0", "made"), ("1", "there is one already, a pin forbids it, or a key is missing")],
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
    help="Where to make the key of a state that several machines share.",
)
@click.option(
    "--pin", is_flag=True, help="Write its lineage into the project file: no other state is taken."
)
def init(*, console: Console, invocation: Invocation, lineage: str, key_file: Path | None,
         pin: bool) -> int:  # fmt: skip
    """Create an empty state for a target, or for each of several.

    A state remembers which live object belongs to which address. Without it, apply could make
    second copies of what exists, so it is never made silently (target `embedded` aside).

    A state that several machines share is bound to an id in the project file, which is written
    there if it has none, and to a state key. Without a key one is made in your configuration folder
    (~/.config/synapse-apply), off a terminal only in --key-file. Every machine and job needs it.

    The backend is asked what it offers, where it can be: whether it lists plugins decides whether
    those that exist can be found. The state is made whatever it says.

    Of several targets, those that have a state keep it.
    """
    with options.open_target(invocation) as target:
        if console.section is not None and target.state.exists():
            console.section.document = {"target": target.name, "made": False}
            console.write_note(f"Target {target.name} has a state already.")
            return 0
        created_state = target.state.create(lineage=lineage, key_file=key_file, pin=pin)
        offer = target.live.read_offer()
    return cli.state.print_created_state(console, created_state, offer)


@manual_command(
    "show",
    examples=[
        ("synapse-apply state show", "A line for each record."),
        ("synapse-apply state show plugin/yolo", "What was sent, and when."),
        ("synapse-apply state show plugin/yolo --json", "The same for a script."),
        (
            "synapse-apply state show --inventory > inventory.yaml",
            "Keep it: ids cannot be found again. `import -f` builds a lost state from it.",
        ),
    ],
    exits=[("0", "shown"), ("1", "there is no such record")],
)
@options.use("json", "targets")
@click.argument("name", type=RECORDED_NAME, metavar="[ADDRESS]", required=False)
@click.option(
    "--inventory",
    is_flag=True,
    help="Print address, id, version and digest of every record as YAML, for `import -f`.",
)
def show(*, console: Console, invocation: Invocation, name: str | None, inventory: bool) -> int:
    """List what is recorded, or show one record. A state holds no secret.

    The list has address, id of the live object, API version and last write. Calls that are open or
    may still act are shown, too, and files that hold calls which the state does not have (`state
    record` records these).
    """
    if inventory and name:
        raise click.UsageError("--inventory is of all records: leave out the ADDRESS.")
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
        console.write_stderr("Nothing is recorded.\n")
    _print_open_calls(console, open_calls)
    return 0


def _print_open_calls(console: Console, open_calls: OpenCalls) -> None:
    advices = {(call.intent.address, call.advice): None for call in open_calls.calls}
    for address, text in advices:
        advice = console.name_target(text)
        console.write_stderr(f"Outcome unknown: {address}. {advice}.\n")


@manual_command(
    "key",
    examples=[
        ("synapse-apply state key -t prod", "Its id, where it is, and how a pipeline gets it."),
        ("synapse-apply state key copy prod.key -t prod", "On the next machine: use that key."),
    ],
    exits=[("0", "shown, or copied"), ("1", "there is no key, or it is not that of the state")],
)
@options.use("json", "target")
@click.argument("action", metavar="[show|copy]", type=click.Choice(["show", "copy"]),
                default="show")  # fmt: skip
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
def key(*, console: Console, invocation: Invocation, action: str, file: Path | None) -> int:
    """Show which key the state's secrets are digested and signed with, or copy it.

    Every machine that shares a state needs the same key. `show` tells its id, where it is, whether
    the state was made with it, and how a pipeline gets it. The key itself is never printed.

    `copy` writes a key to where commands of this machine look for it: your configuration folder
    (~/.config/synapse-apply). It takes the key of FILE, from another machine, else the one in use.
    """
    if action == "show" and file:
        raise click.UsageError("FILE goes with `copy`.")
    with options.open_target(invocation) as target:
        if action == "show":
            return cli.state.print_key(console, target.state.read_key())
        return cli.state.print_key(console, *target.state.copy_key(file))


@manual_command(
    "rm",
    examples=[("synapse-apply state rm plugin/yolo", "Forget it; the plugin itself stays.")],
    exits=[("0", "forgotten"), ("1", "an address is not recorded: nothing was forgotten")],
)
@options.use("color", "target")
@click.argument("names", type=RECORDED_NAME, nargs=-1, required=True, metavar="ADDRESS...")
def rm(*, console: Console, invocation: Invocation, names: tuple[str, ...]) -> int:
    """Forget records; the live objects stay as they are.

    Their calls that may still act stay open: apply refuses the address until that is over.

    What is still declared is adopted by the next apply where it can be found; plugins on API v1
    cannot: import them again, or a second one is made.
    """
    with options.open_target(invocation) as target:
        addresses = target.state.forget(names)
        _, open_calls = target.state.read_with_open_calls()
    names = tuple(map(str, addresses))
    console.write_findings([one for one in open_calls.findings if one.address in names])
    for address in addresses:
        console.write_output(f"Forgot {address}; the live object stays.\n")
    return 0


@manual_command(
    "mv",
    examples=[
        ("synapse-apply state mv plugin/yolo plugin/yolo-v8", "After renaming the manifest.")
    ],
    exits=[("0", "renamed"), ("1", "the old address is not recorded, or the new one is taken")],
)
@options.use("color", "target")
@click.argument("name", type=RECORDED_NAME, metavar="OLD")
@click.argument("new", type=ADDRESS)
def mv(*, console: Console, invocation: Invocation, name: str, new: Address) -> int:
    """Rename an address in the state, and its releases with it; the live objects stay."""
    with options.open_target(invocation) as target:
        renames = target.state.rename(name, new)
    console.write_output(
        "".join(
            f"{old_address} has moved to {new_address}.\n"
            for old_address, new_address in renames.items()
        )
    )
    return 0


@manual_command(
    "accept",
    examples=[
        ("synapse-apply state accept storage/raw-data", "You changed it in Synapse, too."),
        (
            "synapse-apply state accept storage/raw-data --undo",
            "Show the difference in plans again.",
        ),
        (
            "synapse-apply state accept storage/raw-data --until 2026-12-31 --reason 'Ticket 12'",
            "Show it again from 2027 on.",
        ),
    ],
    exits=[
        ("0", "recorded"),
        ("1", "not declared, not recorded, not live, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.use("color", "target", "variables")
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@click.option("--undo", is_flag=True, help="Take back what was accepted of this resource.")
@click.option(
    "--until", metavar="DAY", default="", help="The last day (UTC) on which it is accepted."
)
@click.option("--reason", metavar="TEXT", default="", help="Why it is accepted until then.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
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
    """Accept the live object as it is: what is declared counts as applied.

    For changes that the API cannot make: change the object in Synapse and the manifest in
    Git, then accept. What still differs is listed first, and accepted only after you agree. From
    then on it is no change and no drift until one of the two sides moves: `plan`, `drift`,
    `doctor` and `show` count it as an accepted difference. Of a release whose package nobody can
    tell, after a create without an answer, it says that it is ours.

    With --until it ends after that day (UTC), and plans show the difference again. `plan` and
    `doctor` tell a week before. Each `state accept` of the resource replaces the end.

    With --undo the state remembers again what it did before, so that plans show the difference;
    neither manifests nor backend are needed for that.
    """
    if (undo and until) or (reason and not until):
        raise click.UsageError("--until does not go with --undo; --reason needs --until.")
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
    examples=[
        ("synapse-apply state settle -t prod", "Look up every call of unknown outcome."),
        ("synapse-apply state settle storage/raw-data", "Only this one."),
        ("synapse-apply state settle -t prod --wait", "After a kill: return when all is certain."),
        ("synapse-apply state settle --json", "What became of each, for a script."),
        ("synapse-apply state settle plugin/yolo --absent", "You checked: it was not created."),
        (
            "synapse-apply state settle release/yolo@1.1.0 --job 12",
            "You checked: job 12 is the run.",
        ),
    ],
    exits=[
        ("0", "nothing is open any more; with --absent or --job: closed"),
        ("1", "error, or no call of this address is open"),
        ("6", "the state is locked by another run"),
        ("7", "something is still open; the output says what to do"),
    ],
)
@options.use("json", "target", "variables")
@click.argument("names", nargs=-1, type=RECORDED_NAME, metavar="[ADDRESS]...")
@options.use("wait")
@click.option(
    "--absent", is_flag=True, help="Do not look it up: you checked that no call of it was done."
)
@click.option(
    "--job",
    metavar="ID",
    help="You checked that the run was started, and this is its job, which is read.",
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
    """Look up calls of unknown outcome, and record how they ended; no object is changed.

    A run that was killed, or whose connection broke, leaves its calls open. Each is looked up on
    the backend. `apply` does this by itself before anything else; this command does only this.

    That a call was not done is certain only when it can no longer arrive: --wait waits for that,
    without holding the state.

    Where the backend cannot tell, plan refuses the resource, and you say what became of its call:
    --absent if it was not done, --job for a run that was started, which the next apply follows. If
    the object was made after all, `synapse-apply import ADDRESS ID` is the right command. What a
    run did and could not record is recorded with `synapse-apply state record FILE`.
    """
    if not (absent or job):
        callback = cli.observer.build_wait_callback(console, time.sleep) if wait else None
        with options.open_target(invocation) as target:
            settled = target.state.settle(names, wait=callback)
        return cli.state.print_settled_calls(console, settled)
    if len(names) != 1 or (absent and job) or wait or console.as_json:
        raise click.UsageError(
            "--absent and --job settle one ADDRESS, without --wait, --json or each other."
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
    examples=[
        (
            "synapse-apply state rebind -t prod",
            "The backend moved to another url, or a shared state has no project yet.",
        )
    ],
    exits=[("0", "bound"), ("1", "error, or the answer was not `yes`")],
)
@options.use("color", "target")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
def rebind(*, console: Console, invocation: Invocation, auto_approve: bool) -> int:
    """Bind the state to the target's url and tenant as they are now, and to this project.

    Only right when it is the same backend under another name: ids in the state are taken for
    ids there.

    A state that several machines share belongs to one project, by an id in the project file, which
    is written there if it has none, and to one of its targets, by the target's name. Runs of a
    project file without this id, or of another target, are refused from then on. To merge the id
    before that, write it yourself: `project: {id: UUID}`.
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
        console.write_output(f"It is bound to {rebinding.new_text} already.\n")
        return 0
    if rebinding.project_id is not None and rebinding.project_id.is_new:
        console.write_output(
            f"Wrote project.id {rebinding.project_id.text} into the project file: commit it.\n"
        )
    console.write_output(
        f"Was bound to {rebinding.bound_text}, is bound to {rebinding.new_text}.\n"
    )
    return 0


_UNSIGNED_FLAG = "--allow-unsigned"
_SHUT_OUT_TEXT = (
    "Every other machine and job is refused until it has the new key in place of the former one."
)


@manual_command(
    "rekey",
    examples=[
        ("synapse-apply state rekey -t prod", "After a new SYNAPSE_APPLY_STATE_KEY was set.")
    ],
    exits=[
        ("0", "done; what kept its old key is told"),
        ("1", "error, or the answer was not `yes`: nothing was changed"),
    ],
    environment=[
        ("SYNAPSE_APPLY_STATE_KEY", "the new key; without it one is made where the old one is")
    ],
)
@options.use("json", "target", "variables")
@click.option("--auto-approve", is_flag=True, help="Do not ask before others are shut out.")
@click.option(_UNSIGNED_FLAG, is_flag=True, help="Do not ask before unverified entries are signed.")
def rekey(
    *, console: Console, invocation: Invocation, auto_approve: bool, allow_unsigned: bool
) -> int:
    """Digest the recorded secrets under another state key.

    Each secret is resolved anew, so those that manifests name must be there; what cannot be
    resolved keeps its old digest and is not checked until it can. The results of runs are signed
    anew where the key that signed them is at hand, as .synapse-apply/state/TARGET.key.previous
    for example.

    A state that several machines share takes no other key from then on: who has the former one is
    shut out until they have the new one. So it asks, off a terminal for --auto-approve.

    What is in a bucket or in Git is verified first, so the former key must be at hand beside the
    new one. An entry that it did not sign ends the command. Without it nothing can be verified, and
    all that is recorded is taken for genuine: it asks again, off a terminal for --allow-unsigned.
    """
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:

        def confirm_unverified(finding: Diagnostic) -> bool:
            question = f"Sign what is recorded for target {target.name} without verifying it?"
            console.write_findings((finding,))
            return is_approved(
                console, question, finding.detail, given=allow_unsigned, verb="state rekey",
                flag=_UNSIGNED_FLAG,
            )  # fmt: skip

        def confirm_new_key() -> bool:
            question = f"Give the shared state of target {target.name} another key?"
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
    lines = [f"Digested {secrets} under key {result.key_id}."]
    if result.signed_count:
        runs = format_count_and_noun(result.signed_count, "run")
        lines.append(f"Signed the results of {runs} with it.")
    if result.shuts_out_others:
        lines += [_SHUT_OUT_TEXT, *result.new_key_lines]
    console.write_output("".join(f"{line}\n" for line in lines))
    return 0


@manual_command(
    "backup",
    examples=[
        ("synapse-apply state backup prod.backup", "A copy that restore reads."),
        (
            "synapse-apply state backup -t prod --to postgresql://apply@db.example/states",
            "From the local file to a database that runners share.",
        ),
        (
            "synapse-apply state backup -t prod --to '{env: STATE_URL}'",
            "The url and its password are in a variable, as the project file will say.",
        ),
    ],
    exits=[
        ("0", "written; with --to: copied and compared"),
        ("1", "no state, it cannot be written, or --to has a state already"),
    ],
)
@options.use("color", "target")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--to",
    "url",
    metavar="URL",
    callback=typed.parse_url_or_reference,
    help="The store to move to: a url, or '{env: NAME}' as in the project file, where it holds a "
    "password that nobody else on this machine shall see.",
)
def backup(
    *, console: Console, invocation: Invocation, file: Path | None, url: str | SecretRef | None
) -> int:
    """Copy the whole state, history included, to a file or to another store.

    The copy is consistent even while an apply runs. With --to the two are compared. The state it
    came from stays as it is: set `state.url` in the project file, then put the old file away, so
    that nobody continues to write to it.
    """
    if url is None:
        if file is None:
            raise click.UsageError("Give a FILE, or --to URL.")
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
    examples=[
        ("synapse-apply state restore prod.backup -t prod", "Replace the state by a backup.")
    ],
    exits=[
        ("0", "restored"),
        ("1", "no backup, another target's, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.use("color", "target")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--auto-approve", is_flag=True, help="Do not ask before a state is replaced.")
def restore(*, console: Console, invocation: Invocation, file: Path, auto_approve: bool) -> int:
    """Replace the state by a backup.

    It must be one of this target: of its url and tenant, and of the lineage that the project
    file pins. The state that was there is kept under a new name, which is printed: a file beside
    it, one in PostgreSQL in .synapse-apply/state. What was applied since the backup is not
    remembered: plan afterwards, and look closely.
    """
    if not (invocation.directory / file).is_file():
        raise click.BadParameter(f"File {str(file)!r} does not exist.", param_hint="FILE")
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:

        def confirm_replacement(exchange: StateExchange) -> bool:
            question = f"Replace the state of target {target.name}?"
            detail = (
                exchange.lineage_difference or "What was applied since the backup is forgotten."
            )
            return is_approved(console, question, detail, given=auto_approve, verb="state restore")

        restored_state = target.state.restore(file, confirm=confirm_replacement)
    console.write_findings(restored_state.warnings)
    if kept_location := restored_state.kept_location:
        console.write_output(f"The state that was there is kept as {kept_location}.\n")
    next_step = options.add_invocation_options(Text("Run ", Command("plan"), " next."), invocation)
    console.write_output(f"Restored from {file}. {next_step}\n")
    return 0


@manual_command(
    "record",
    examples=[
        (
            "synapse-apply state record .synapse-apply/unrecorded-prod-5f1c.jsonl -t prod",
            "The disk has room again: record what was done.",
        )
    ],
    exits=[
        ("0", "the state has everything that the file says"),
        ("1", "the file is not usable, or contradicts the state, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.use("color", "target")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    _UNSIGNED_FLAG, is_flag=True, help="Do not ask before a file without a signature is used."
)
def record(*, console: Console, invocation: Invocation, file: Path, allow_unsigned: bool) -> int:
    """Record what a run did while its state could not be written.

    Such a run (a full disk, a database that went away) writes what it did to a file beside the
    project, unrecorded-TARGET-PLAN.jsonl, and names it in its report. What the state knows
    already is skipped; the file is removed when all of it is recorded.

    Each line is signed with the state key. A file that was changed is refused. One that the key
    in use did not sign, such as that of an earlier version or of a run without the key, is shown
    line by line, and recorded only after you agree.
    """
    with options.open_target(invocation, declined=_NOTHING_CHANGED) as target:

        def show_and_confirm(journal: JournalContent) -> bool:
            # All that an unsigned journal says, before the user is asked about it.
            cli.state.print_journal(console, file, journal)
            question = f"Record this in the state of target {target.name}?"
            detail = "Only if the report of a run of yours named this file."
            return is_approved(
                console, question, detail, given=allow_unsigned, verb="state record",
                flag=_UNSIGNED_FLAG,
            )  # fmt: skip

        recovered_calls = target.state.record_calls(file, confirm=show_and_confirm)
    for intent in recovered_calls.recorded_intents:
        console.write_output(
            f"Recorded {intent.verb} of {intent.address} (id {intent.remote_id or 'none'}).\n"
        )
    console.write_output(
        f"Recorded: {len(recovered_calls.recorded_intents)}. Known before: "
        f"{len(recovered_calls.known_intents)}. Removed {file}.\n"
    )
    console.write_findings(recovered_calls.findings)
    return 0


@manual_command(
    "history",
    examples=[
        ("synapse-apply state history -t prod", "The newest runs that changed anything."),
        (
            "synapse-apply state history show 5f1c2d",
            "Every call of one, by the beginning of its plan.",
        ),
        ("synapse-apply state history --limit 1 --json", "The newest run with its calls, in JSON."),
    ],
    exits=[("0", "shown"), ("1", "no such plan, or there is no state")],
)
@options.use("json", "targets")
@click.argument("words", nargs=-1, metavar="[show PLAN_ID]")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many runs to list.",
)
def history(*, console: Console, invocation: Invocation, words: tuple[str, ...], limit: int) -> int:
    """List what was done on a target: when, by whom, in which CI run, by which plan.

    `state history show PLAN_ID` lists every mutating call of one plan: address, verb, id of the
    object, the server's request id, a digest of what was sent, and how it ended. There is never a
    value.
    Changes to the state alone are listed as well: moves, imports, what was adopted or forgotten.
    """
    if words and (words[0] != "show" or len(words) != 2):
        raise click.UsageError("It is `state history`, or `state history show PLAN_ID`.")
    with options.open_target(invocation) as target:
        if words:
            return cli.state.print_run_with_calls(console, target.find_run(words[1]))
        return cli.state.print_runs_table(console, target.history(limit))


class _LockIdType(click.types.StringParamType):
    """A text; where it is missing the error says what shows it."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Where the id of a lock is shown."""
        del param, ctx
        return "The message about the lock shows it, and `doctor`."


@manual_command(
    "unlock",
    examples=[
        ("synapse-apply state unlock 7-3f2a9c -t prod", "The run that held the state is gone.")
    ],
    exits=[("0", "removed"), ("1", "there is no lock, or it has another id")],
)
@options.use("color", "target")
@click.argument("lock_id", metavar="ID", type=_LockIdType())
def unlock(*, console: Console, invocation: Invocation, lock_id: str) -> int:
    """Remove the lock of a run that is gone; the message about the lock and `doctor` show its ID.

    Rarely needed: a run that died on this machine is noticed at once, one elsewhere after one
    lease. A run that only seemed gone can write nothing afterwards.
    """
    with options.open_target(invocation) as target:
        target.state.unlock(lock_id)
        name = target.name
    console.write_output(f"Removed lock {lock_id} of target {name}.\n")
    return 0
