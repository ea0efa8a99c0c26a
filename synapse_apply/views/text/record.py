"""How records, live objects, exports and logs of jobs are shown as text, without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.job import LastRun
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.remote import LogLine
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import flatten
from synapse_apply.views.sanitize import escape_ci_commands, quote_string, sanitize
from synapse_apply.views.text.terminal import Style
from synapse_apply.views.text.values import FieldNode, RowLayout, build_field_tree

_INDENT = 2


def render_record(record: Record, *, color: bool, width: int | None = None) -> str:
    """A record of the state as text: the fields that were sent, or seen where none was sent."""
    style = Style(color)
    # Nothing applied means that no apply has sent a field of it.
    notes = [] if record.applied else ["imported: values as last read, nothing sent yet"]
    if record.protected:
        notes.append("protected: prevent_destroy")
    identity = (record.address.kind, record.address.name, record.remote_id)
    body = _fields_block(identity, record.applied or record.seen, RowLayout(style, width))
    files = f" ({format_count_and_noun(len(record.files), 'file')})" if record.files else ""
    # After another publication the proof is about an older package.
    is_same = record.proven.get("digest") == record.digest
    facts = {
        "api": record.api,
        "depends on": ", ".join(map(str, record.depends_on)),
        "package": f"{record.digest}{files}" if record.digest else "",
        "bytes read": record.proven.get("at", "") if is_same else "",
        "verified": format_last_run_or_empty(record.verification),
        "created": record.created_at,
        "updated": record.updated_at,
    }
    heading = [f"# {sanitize(record.address)}", *(f"# ({note})" for note in notes)]
    lines = [*(style(line, "bold") for line in heading), *body]
    lines += [style(f"# {name}: {sanitize(fact)}", "dim") for name, fact in facts.items() if fact]
    return escape_ci_commands("\n".join(lines) + "\n")


def render_live_object(
    kind: str, name: str, observed: Observed, *, color: bool, width: int | None = None
) -> str:
    """A live object as text that is not declared, so that it has no address."""
    heading = f"{kind} {observed.remote_id} (API {observed.api})"
    fields = flatten(observed.spec)
    return render_fields_block(
        heading, (kind, name, observed.remote_id), fields, color=color, width=width
    )


def render_fields_block(
    heading: str,
    kind_name_and_id: tuple[str, str, str],
    fields: Mapping[FieldPath, Any],
    *,
    color: bool,
    width: int | None = None,
) -> str:
    """An object as a block under a heading; `kind_name_and_id` names it."""
    style = Style(color)
    body = _fields_block(kind_name_and_id, fields, RowLayout(style, width))
    return escape_ci_commands("\n".join([style(f"# {sanitize(heading)}", "bold"), *body]) + "\n")


def _fields_block(
    kind_name_and_id: tuple[str, str, str], fields: Mapping[FieldPath, Any], layout: RowLayout
) -> list[str]:
    # Shown with the rows of a plan, none of which is a change.
    kind, name, remote_id = kind_name_and_id
    root = FieldNode()
    root.add_unchanged_field(("id",), remote_id, is_shown=True)
    for path, value in fields.items():
        root.add_unchanged_field(path, value, is_shown=True)
    rows = layout.visible_rows(root, _INDENT)
    return [f"{sanitize(kind)} {quote_string(name)} {{", *rows, "}"]


def format_last_run_or_empty(last_run_json: Mapping[str, Any] | None) -> str:
    """A record's last run as text, such as `passed (job 12) 2026-01-01T00:00:00Z`; "" for none."""
    last_run = LastRun.from_json_or_none(last_run_json)
    if last_run is None:
        return ""
    job = f" (job {last_run.job})" if last_run.job else ""
    return f"{(last_run_json or {}).get('result', '')}{job} {last_run.at}".rstrip()


def render_accepted(
    address: object,
    differing_fields: Sequence[FieldChange],
    accepted_fields: Sequence[FieldChange],
    notes: Sequence[str],
    *,
    color: bool,
    width: int | None = None,
) -> str:
    """The differences of a resource as text, from live to declared, new and accepted ones apart."""
    layout = RowLayout(Style(color), width)
    lines: list[str] = []
    titled = {"differs": differing_fields, "differs (already accepted)": accepted_fields}
    for title, fields in titled.items():
        if fields:
            heading = f"{sanitize(address)} {title} (live -> declared):"
            rows = layout.visible_rows(build_field_tree(fields), _INDENT + 2)
            lines += [layout.style(heading, "bold"), *rows]
    lines += [f"  . {sanitize(note)}" for note in notes]
    return escape_ci_commands("".join(f"{line}\n" for line in lines))


ReasonRows = Iterable[tuple[str, str]]


def render_unexported(left_out_fields: ReasonRows, missed_objects: ReasonRows) -> str:
    """Left out fields and objects with their reasons, under two headings; "" for none."""
    text = _reason_list("Left out, and therefore not managed:", left_out_fields)
    return escape_ci_commands(text + _reason_list("Not exported:", missed_objects))


def format_variables_to_set(secrets_with_reasons: ReasonRows) -> str:
    """The list of secrets whose variables have to be set; "" for none."""
    return escape_ci_commands(
        _reason_list(
            "The export does not write these values. Set them where plan and apply run:",
            secrets_with_reasons,
        )
    )


def _reason_list(heading: str, rows: ReasonRows) -> str:
    lines = [f"  {sanitize(subject)}: {sanitize(reason)}\n" for subject, reason in rows]
    return f"\n{heading}\n" + "".join(lines) if lines else ""


_LEVEL_STYLES = {
    "error": "error",
    "critical": "error",
    "danger": "error",
    "warning": "warning",
    "debug": "dim",
}


def format_log_line(line: LogLine, *, color: bool) -> str:
    """`[time] level: message`, as on the API page, without what the server left out."""
    level = Style(color)(sanitize(line.level), _LEVEL_STYLES.get(line.level, ""))
    head = f"[{sanitize(line.timestamp)}] " if line.timestamp else ""
    # A tab indents tracebacks, and would be shown as an escape by sanitize.
    message = sanitize(line.message.expandtabs(4))
    return escape_ci_commands(f"{head}{level}{': ' if line.level else ''}{message}\n")
