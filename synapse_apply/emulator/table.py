"""What docs/emulator.md consists of: endpoints, behaviours and switches, from the code's data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.emulator.api import FACTS, OWN, V1, V2
from synapse_apply.emulator.core.call import ApiVersion
from synapse_apply.emulator.core.fields import SOURCE_MEANINGS
from synapse_apply.emulator.core.switches import PROFILES, SWITCHES, Profile, Switch

_INTRODUCTION = """\
# The embedded backend

A real HTTP server on loopback that keeps its objects in one SQLite file and answers as the
Synapse API does. Start it with `synapse-apply emulator serve`; it prints
`listening on http://127.0.0.1:PORT`. This page is written from its code:
`python -m synapse_apply.emulator table > docs/emulator.md`.

How sure each behaviour is:

"""
_PROFILES_TEXT = """\
`--profile NAME` chooses one, `--switch NAME=VALUE` changes single values on top of it. The data set
keeps its profile: `emulator serve --profile vendor` once, or `emulator reset --profile vendor` to
begin anew with it, and every later run of target `embedded` finds the backend as it was.
`emulator reset` without a profile goes back to `page`. In Python:
`EmbeddedServer(data, profile="vendor")`.

To rehearse against the platform as it is, before a first contact with it:

```console
$ synapse-apply emulator reset --profile vendor --yes
$ synapse-apply apply -t embedded
```
"""
_OWN_INTRODUCTION = """\
Below `/_emulator/`, for tests and tools; no real backend has them. They ask for a token too, and
are not in the request log. Their last slash may be left out.
"""


def render_emulator_page() -> str:
    """docs/emulator.md as Markdown text."""
    parts = [
        _INTRODUCTION
        + "".join(f"- **{source}**: {text}\n" for source, text in SOURCE_MEANINGS.items()),
        "## Profiles\n",
        _render_table(("Profile", "What it is", "Switches"), map(_build_profile_row, PROFILES)),
        _PROFILES_TEXT,
        "## Endpoints (API v1)\n",
        _render_table(("Request", "What", "How sure"), _build_endpoint_rows(V1)),
        "## Endpoints (API v2)\n",
        _render_table(("Request", "What", "How sure"), _build_endpoint_rows(V2)),
        "## Behaviours\n",
    ]
    for title, facts in FACTS.items():
        rows = [(fact.text, fact.source.value) for fact in facts]
        parts += [f"### {title}\n", _render_table(("Behaviour", "How sure"), rows)]
    parts += [
        "## Switches\n",
        "`--switch NAME=VALUE`, repeatable. The first value is that of profile `page`.\n",
        _render_table(("Switch", "Values", "What it decides"), map(_build_switch_row, SWITCHES)),
        "## Its own endpoints\n",
        _OWN_INTRODUCTION,
        _render_table(("Request", "What"), (row[:2] for row in _build_endpoint_rows(OWN))),
    ]
    return "\n".join(parts)


def _build_endpoint_rows(version: ApiVersion) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for endpoint in version.endpoints:
        text = endpoint.text
        if endpoint.switch is not None:
            text += " Only with `{}={}`, else 405.".format(*endpoint.switch)
        request = f"`{endpoint.method} {version.prefix}{endpoint.path}`"
        rows.append((request, text, endpoint.source.value))
    return rows


def _build_profile_row(profile: Profile) -> tuple[str, ...]:
    values = ", ".join(f"`{name}={value}`" for name, value in profile.values.items())
    return f"`{profile.name}`", profile.text, values or "The first value of each."


def _build_switch_row(switch: Switch) -> tuple[str, ...]:
    values = ", ".join(f"`{value}` ({source.value})" for value, source in switch.values.items())
    return f"`{switch.name}`", values, switch.text


def _render_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(_escape_cell(cell) for cell in row)} |\n" for row in lines)


def _escape_cell(text: str) -> str:
    return text.replace("|", "\\|")
