"""What `controller status` prints: a table of targets, and what it says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.cli.console import Console

_COUNTED = {
    "add": "to add",
    "change": "to change",
    "destroy": "to destroy",
    "import": "to import",
    "forget": "to forget",
    "refused": "refused",
    "drifted": "drifted",
}


def print_target_list(console: Console, document: Mapping[str, Any]) -> None:
    """Print a TargetList of the controller's API, as its JSON or as a table."""
    if console.as_json:
        console.write_or_keep_document(document)
        return
    from synapse_apply.views.text.tables import render_table

    _print_source_findings(console, document.get("source_findings", ()))
    if not document["items"]:
        console.write_output(
            "There is no target yet: no source could be read until now, or no rule of"
            " `sources.NAME.targets` matches one. The controller's log and the sources on its page"
            " say what is wrong.\n"
        )
        return
    rows = [
        (
            item["state"],
            item["name"],
            (item.get("wanted_commit") or "-")[:7],
            _describe_counts(item["counts"]),
            item.get("looked_at") or "-",
            _target_reason(item),
        )
        for item in document["items"]
    ]
    headers = ("state", "target", "commit", "plan", "looked at", "why")
    console.write_output(render_table(headers, rows, color=console.is_output_colored))
    _print_processes(console, document.get("processes", ()))


def _print_processes(console: Console, processes: Sequence[Mapping[str, Any]]) -> None:
    """How many processes share the work, and which differ; nothing where it is one alone."""
    from synapse_apply.controller.rules.processes import describe_role_counts
    from synapse_apply.views.sanitize import sanitize

    if not processes:
        return
    leader = next((f"; {item['host']} leads" for item in processes if item["is_leading"]), "")
    lines = [
        f"{describe_role_counts([item['role'] for item in processes])}{leader or '; none leads'}."
    ]
    lines += [
        f"{item['host']} (process {item['process_id']}) has {item['difference']}."
        for item in processes
        if item["difference"]
    ]
    console.write_output("\n" + "".join(f"{sanitize(line)}\n" for line in lines))


def _print_source_findings(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """A table of what is wrong with sources, and an empty line after it; nothing for none."""
    from synapse_apply.views.text.tables import render_table

    rows = [
        (
            entry["source"],
            entry["finding"]["summary"],
            str(entry["finding"].get("detail") or "-").partition("\n")[0],
        )
        for entry in entries
    ]
    if rows:
        headers = ("source", "what is wrong", "detail")
        console.write_output(render_table(headers, rows, color=console.is_output_colored) + "\n")


def _target_reason(item: Mapping[str, Any]) -> str:
    """Why a target is in its state: its finding, what waits for a person, what it waits for."""
    from synapse_apply.controller.rules.target_statuses import format_held_rows

    if item.get("finding"):
        reason = item.get("waiting_reason")
        return f"{item['finding']['summary']}{f'; {reason}' if reason else ''}"
    count = item.get("hold_count") or 0
    waiting = format_held_rows(count, min(item.get("held_guard_count") or 0, count))
    hold_phrase = f"{waiting} wait{'s' * (count == 1)} for a person" if count else ""
    unknown_phrase = (
        "nobody knows whether a call had an effect" if item["state"] == "unknown" else ""
    )
    return "; ".join(filter(None, (unknown_phrase, hold_phrase, item.get("waiting_reason"))))


def _describe_counts(counts: Mapping[str, int]) -> str:
    parts = [f"{counts[name]} {words}" for name, words in _COUNTED.items() if counts.get(name)]
    return ", ".join(parts) or "-"
