"""The page of endpoints, behaviours and switches, written from the code's own data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.emulator.api import FACTS, OWN, V1, V2
from synapse_apply.emulator.core.call import ApiVersion
from synapse_apply.emulator.core.facts import MEANINGS
from synapse_apply.emulator.core.switches import PROFILES, SWITCHES, Profile, Switch

_INTRODUCTION = """\
# The embedded backend

A real HTTP server on loopback that keeps its objects in one SQLite file and answers as the
Synapse API does. Start it with `synapse-apply emulator serve`; it prints
`listening on http://127.0.0.1:PORT`. This page is written from its code:
`python -m synapse_apply.emulator table > docs/emulator.md`.

How sure each behaviour is:

"""
_PROFILES = """\
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


def page() -> str:
    """The whole page as Markdown."""
    parts = [
        _INTRODUCTION + "".join(f"- **{mark}**: {text}\n" for mark, text in MEANINGS.items()),
        "## Profiles\n",
        _table(("Profile", "What it is", "Switches"), map(_profile_row, PROFILES)),
        _PROFILES,
        "## Endpoints (API v1)\n",
        _table(("Request", "What", "How sure"), _endpoint_rows(V1)),
        "## Endpoints (API v2)\n",
        _table(("Request", "What", "How sure"), _endpoint_rows(V2)),
        "## Behaviours\n",
    ]
    for title, facts in FACTS.items():
        rows = [(fact.text, fact.mark.value) for fact in facts]
        parts += [f"### {title}\n", _table(("Behaviour", "How sure"), rows)]
    parts += [
        "## Switches\n",
        "`--switch NAME=VALUE`, repeatable. The first value is that of profile `page`.\n",
        _table(("Switch", "Values", "What it decides"), map(_switch_row, SWITCHES)),
        "## Its own endpoints\n",
        _OWN_INTRODUCTION,
        _table(("Request", "What"), (row[:2] for row in _endpoint_rows(OWN))),
    ]
    return "\n".join(parts)


def _endpoint_rows(version: ApiVersion) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for endpoint in version.endpoints:
        text = endpoint.text
        if endpoint.switch is not None:
            text += " Only with `{}={}`, else 405.".format(*endpoint.switch)
        request = f"`{endpoint.method} {version.prefix}{endpoint.path}`"
        rows.append((request, text, endpoint.mark.value))
    return rows


def _profile_row(profile: Profile) -> tuple[str, ...]:
    values = ", ".join(f"`{name}={value}`" for name, value in profile.values.items())
    return f"`{profile.name}`", profile.text, values or "The first value of each."


def _switch_row(switch: Switch) -> tuple[str, ...]:
    values = ", ".join(f"`{value}` ({mark.value})" for value, mark in switch.values.items())
    return f"`{switch.name}`", values, switch.text


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
