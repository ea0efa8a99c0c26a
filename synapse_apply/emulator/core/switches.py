"""What nobody documents, as data: each switch chooses one behaviour among those seen or feared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synapse_apply.emulator.core.facts import Mark


class UnknownSwitchError(ValueError):
    """A switch or a value that does not exist; the message says which do."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One choice; the first of `values` is the default. `marks` says how sure each value is."""

    name: str
    values: Mapping[str, Mark]
    text: str

    @property
    def default(self) -> str:
        return next(iter(self.values))


_D, _O, _G = Mark.DOCUMENTED, Mark.OBSERVED, Mark.GUESSED

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "put",
        {"partial": _D, "full": _G},
        "`PUT plugins/{id}/`: `partial` changes only what is sent; `full` needs `name` and resets "
        "writable fields that are not sent.",
    ),
    Switch(
        "secrets",
        {"plain": _O, "omitted": _G, "masked": _G},
        "Secret keys of a storage's configuration in answers: as stored, left out, or `********`.",
    ),
    Switch(
        "configuration",
        {"always": _D, "asked": _O},
        "A storage's configuration in answers: always, or only with `?with_configuration=true`.",
    ),
    Switch(
        "list_items",
        {"whole": _D, "short": _G},
        "Items of `GET storages/`: the whole object, or id, name, provider and category.",
    ),
    Switch(
        "list_order",
        {"oldest": _G, "newest": _G},
        "`GET storages/` and `GET plugins/`, and plugins and releases of v2, begin with the oldest "
        "object, or with the newest.",
    ),
    Switch(
        "plugin_list",
        {"none": _D, "list": _G},
        "`GET plugins/`: 405, or pages of plugins.",
    ),
    Switch(
        "job_context",
        {"returned": _G, "none": _G},
        "The `context` of a run in the job's answers: returned, or not there.",
    ),
    Switch(
        "status_words",
        {"page": _D, "platform": _O},
        "Job status words: queued, running, completed, failed; or PENDING, RUNNING, SUCCEEDED, "
        "FAILED, STOPPED. Both are understood in requests.",
    ),
    Switch(
        "code",
        {"none": _G, "slug": _G},
        "A plugin created without a code: stays without (null), or gets a slug of its name.",
    ),
    Switch(
        "unhealthy_agent",
        {"told": _G, "refused": _G},
        "Health check of an agent whose `status` is not `connected`: 200 with that status, or 503.",
    ),
    Switch(
        "console_logs",
        {"entries": _D, "lines": _O},
        "`GET jobs/{id}/console_logs/`: objects with timestamp, level, message; or plain texts.",
    ),
    Switch(
        "tail",
        {"start": _G, "now": _G, "none": _G},
        "`GET jobs/{id}/tail_console_logs/`: begins with the first line, begins with what is "
        "written from then on, or is not there (405).",
    ),
    Switch(
        "tail_data",
        {"entry": _G, "nested": _O},
        "The `data` of a `log` frame: a line as console_logs has it, or a text that is itself a "
        '`data: {"type": "log", "message": ...}` frame.',
    ),
    Switch(
        "v2_answers",
        {"envelope": _O, "plain": _D},
        "Answers of v2: `{data, meta}`; or bare objects and pages `{next, previous, results}`.",
    ),
    Switch(
        "v2_ids",
        {"shared": _G, "own": _G},
        "Ids of plugins and releases on v2: those of v1, or numbers of its own.",
    ),
    Switch(
        "v2_dry_run",
        {"checked": _G, "blind": _G, "unknown": _G},
        "A dry run finds out that a code or a version is taken; or does not look; or the parameter "
        "is not known, and the request is carried out.",
    ),
    Switch(
        "v2_sha256",
        {"unchecked": _D, "compared": _G},
        "The `sha256` of an uploaded release: taken as it is; or compared with the file, 400.",
    ),
)

_BY_NAME = {switch.name: switch for switch in SWITCHES}


class Switches:
    """The chosen value of every switch; may be changed while the server runs."""

    def __init__(self, chosen: Mapping[str, str] | None = None) -> None:
        self._values = {switch.name: switch.default for switch in SWITCHES}
        self.update(chosen or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def is_on(self, name: str, value: str) -> bool:
        return self._values[name] == value

    def update(self, chosen: Mapping[str, str]) -> None:
        """Change some; all or nothing. Raises UnknownSwitchError."""
        for name, value in chosen.items():
            if name not in _BY_NAME:
                raise UnknownSwitchError(
                    f"there is no switch {name!r}; there are: {', '.join(_BY_NAME)}"
                )
            if value not in _BY_NAME[name].values:
                values = ", ".join(_BY_NAME[name].values)
                raise UnknownSwitchError(f"switch {name!r} takes {values}; not {value!r}")
        self._values.update(chosen)

    def as_dict(self) -> dict[str, str]:
        return dict(self._values)
