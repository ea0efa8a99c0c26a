"""Which undocumented behaviours can be chosen, as data: switches, their values, and profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synapse_apply.emulator.core.fields import FactSource


class UnknownSwitchError(ValueError):
    """A switch, value or profile that does not exist; the message lists those that do."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One choice between behaviours; `values` has the source of each, the default first."""

    name: str
    values: Mapping[str, FactSource]
    text: str

    @property
    def default(self) -> str:
        return next(iter(self.values))


_D, _O, _G = FactSource.DOCUMENTED, FactSource.OBSERVED, FactSource.GUESSED
_PROCEDURE, _MEASURED, _DESCRIBED = FactSource.PROCEDURE, FactSource.MEASURED, FactSource.DESCRIBED
_DERIVED = FactSource.DERIVED

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "put",
        {"partial": _D, "full": _G},
        "`PUT plugins/{id}/`: `partial` changes only what is sent; `full` needs the required "
        "fields and resets writable ones that are not sent.",
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
        {"oldest": _G, "newest": _MEASURED},
        "Lists of plugins, releases and storages begin with the oldest object, or with the newest.",
    ),
    Switch(
        "plugin_list", {"none": _D, "list": _PROCEDURE}, "`GET plugins/`: 405, or pages of plugins."
    ),
    Switch(
        "plugin_fields",
        {"page": _D, "platform": _PROCEDURE},
        "A plugin has `version`, `author` and `configuration`; or `is_public`, `is_active`, "
        "`system_only` and `detail`, and what it does not have is dropped without a word.",
    ),
    Switch(
        "plugin_required",
        {"name": _D, "all": _DERIVED},
        "A plugin needs a name, and its category is any text; or name, code and one of the "
        "platform's categories.",
    ),
    Switch(
        "plugin_tenant",
        {"name": _G, "number": _DERIVED, "none": _PROCEDURE},
        "The `tenant` in answers about plugins: its name, its number (null of a system plugin), or "
        "not there.",
    ),
    Switch(
        "plugins_of_others",
        {"hidden": _G, "shown": _DERIVED},
        "Public and system plugins of other tenants: 404; or listed, read and run, with 403 on "
        "each change.",
    ),
    Switch(
        "code_taken",
        {"conflict": _O, "field": _PROCEDURE},
        "A create with a code that any tenant has: 409; or 400 on `code`.",
    ),
    Switch(
        "code_change",
        {"refused": _G, "ignored": _G},
        "`PUT plugins/{id}/` with another code: 400 on `code`; or the code stays.",
    ),
    Switch(
        "first_release",
        {"none": _D, "made": _DESCRIBED},
        "A create of a plugin on v1 makes the plugin alone; or its release 0.0.0 too, which its "
        "answer names as `release {id, version, is_released}`.",
    ),
    Switch(
        "release_plugin",
        {"both": _G, "code": _O, "id": _D},
        "The `plugin` of an upload on v1 is an id or a code (digits are an id first); the code "
        "alone; the id alone. Another one is 400 on `plugin`.",
    ),
    Switch(
        "release_source",
        {"form": _D, "package": _MEASURED, "checked": _DERIVED},
        "Version and config of an upload on v1: what the form says; or what config.yaml in the zip "
        "says, without which it is 400; or the same, and another version in the form is 400.",
    ),
    Switch(
        "release_fields",
        {"page": _D, "platform": _DERIVED},
        "A release of v1 has `changelog`, `is_stable` and `requirements`; or `is_released`, "
        "`readme` and `available_actions`, as v2 shows it.",
    ),
    Switch(
        "release_meta",
        {"none": _D, "kept": _DESCRIBED, "debug": _O},
        "The `meta` of an upload on v1: dropped; kept and shown; kept of debug releases alone.",
    ),
    Switch(
        "release_taken",
        {"conflict": _O, "field": _DERIVED, "general": _DERIVED},
        "A second release of one plugin and version on v1: 409; 400 on `version`; or 400 on "
        "`non_field_errors`.",
    ),
    Switch(
        "debug_releases",
        {"replaced": _PROCEDURE, "final": _G},
        "An upload with `debug` of a version that is there: it replaces the release, unless that "
        "is locked; or it is refused as any other.",
    ),
    Switch(
        "release_file",
        {"object": _G, "signed": _PROCEDURE},
        "The `file` in answers about releases of v1: `{name, url}`; or a URL that needs no token, "
        "with a signature that expires.",
    ),
    Switch(
        "unknown_plugin",
        {"empty": _G, "refused": _G},
        "`GET plugin_releases/?plugin=` of no plugin: an empty list; or 400 on `plugin`.",
    ),
    Switch(
        "filters",
        {"page": _D, "platform": _MEASURED},
        "Lists of v1: of jobs, `plugin`, `user` and `created_after` narrow; or they do not, while "
        "`created__gte`, `created__lt` and `ordering` do in every list, and `agent` of jobs.",
    ),
    Switch(
        "texts",
        {"english": _G, "korean": _PROCEDURE},
        "The words of a refusal: English; or Korean, unless `Accept-Language` asks for English.",
    ),
    Switch(
        "run_form",
        {"page": _D, "platform": _O},
        "A run takes `parameters` and `context`, and `action` may be left out; or they are "
        "dropped, and `action` is required and one that the release has.",
    ),
    Switch(
        "run_answer",
        {"job": _D, "result": _O, "method": _O},
        "A run is answered with its job; with the action's own result, and there is no job; or as "
        "the action's `method` in the release's config says: a job for `job`, else the result.",
    ),
    Switch(
        "run_job",
        {"both": _G, "id": _G, "job_id": _G},
        "The answer of a run names its job by `id` and `job_id`, or by one of them.",
    ),
    Switch(
        "job_fields",
        {"page": _D, "platform": _O},
        "A job of v1 has `progress`, `plugin`, `version` and `parameters`; or "
        "`progress_record.current_progress.overall`, `plugin_release` alone (a number; an object "
        "with `?expand=plugin_release`) and `params`, with times at +09:00.",
    ),
    Switch(
        "job_ids", {"integer": _D, "uuid": _O}, "Ids of jobs on v1: integers, or the UUIDs of v2."
    ),
    Switch(
        "no_logs",
        {"empty": _G, "missing": _O},
        "`GET jobs/{id}/console_logs/` before the first line: an empty list, or 404.",
    ),
    Switch(
        "tail_of_none",
        {"missing": _G, "frame": _DERIVED},
        "The tail of an unknown job on v1: 404, or 200 and one `error` frame.",
    ),
    Switch(
        "credential_regime",
        {"none": _MEASURED, "session": _MEASURED},
        "A storage's configuration has its secrets in answers, as the switch `secrets` says; or "
        "never, since only its session shows them.",
    ),
    Switch(
        "storage_pages",
        {"pages": _D, "bare": _O},
        "`GET storages/` is a page, or a list of all storages.",
    ),
    Switch(
        "storage_keys",
        {"free": _D, "checked": _G},
        "A create of a storage takes any configuration; or is 400 on the keys that its provider "
        "needs and that are missing.",
    ),
    Switch(
        "agent_items",
        {"token": _G, "script": _O},
        "Items of `GET agents/` have a `token`; or a `node_install_script` with the token in it.",
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
        {"entries": _D, "lines": _O, "timed": _DESCRIBED},
        "`GET jobs/{id}/console_logs/`: objects with timestamp, level, message; or plain texts; or "
        "plain texts that begin with their time.",
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
        "v2_dry_run_answer",
        {"object": _G, "fields": _DESCRIBED},
        "A dry run is answered as the request would be, with `meta.dry_run`; or with 200 and "
        "`{dry_run, action, validated_fields}`.",
    ),
    Switch(
        "v2_writes",
        {"all": _D, "none": _DESCRIBED},
        "v2 takes writes; or each is 405, as on backends of 2026-04, whose v2 was read-only.",
    ),
    Switch(
        "v2_guards",
        {"off": _G, "on": _DESCRIBED},
        "v2 takes what it can read; or refuses with 400 ids with one of `? # % & \\ /` or `..`, "
        "queries with `%25` and two hexadecimal digits, and control characters in texts.",
    ),
    Switch(
        "v2_sha256",
        {"unchecked": _D, "compared": _G},
        "The `sha256` of an uploaded release: taken as it is; or compared with the file, 400.",
    ),
)

_BY_NAME = {switch.name: switch for switch in SWITCHES}


# A profile is data: values of switches, each with a mark of its source. The data set keeps its
# profile, because objects made under one are read wrongly under another; the project file has none,
# because `embedded` always exists and is always the same target.
@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of switch values; all other switches have their defaults."""

    name: str
    text: str
    values: Mapping[str, str]


DEFAULT_PROFILE = "page"
PROFILES: tuple[Profile, ...] = (
    Profile("page", "As the API page documents v1, and the vendor's description v2.", {}),
    Profile(
        "vendor",
        "As the vendor's own tools find its backend: what they send and read, and what they say "
        "of it.",
        {
            "configuration": "asked",
            "list_order": "newest",
            "plugin_list": "list",
            "plugin_fields": "platform",
            "plugin_required": "all",
            "plugin_tenant": "none",
            "plugins_of_others": "shown",
            "code_taken": "field",
            "first_release": "made",
            "release_plugin": "code",
            "release_source": "package",
            "release_fields": "platform",
            "release_meta": "kept",
            "release_taken": "field",
            "release_file": "signed",
            "filters": "platform",
            "texts": "korean",
            "run_form": "platform",
            "job_context": "none",
            "job_fields": "platform",
            "job_ids": "uuid",
            "status_words": "platform",
            "console_logs": "timed",
            "no_logs": "missing",
            "tail": "now",
            "tail_data": "nested",
            "tail_of_none": "frame",
            "agent_items": "script",
            "v2_dry_run": "blind",
            "v2_dry_run_answer": "fields",
            "v2_guards": "on",
        },
    ),
)


PROFILE_NAMES = tuple(profile.name for profile in PROFILES)


def require_profile(name: str) -> Profile:
    """The profile with this name. Raises UnknownSwitchError."""
    for profile in PROFILES:
        if profile.name == name:
            return profile
    names = ", ".join(PROFILE_NAMES)
    raise UnknownSwitchError(f"there is no profile {name!r}; there are: {names}")


class Switches:
    """The current value of each switch: a profile's, with chosen ones on top.

    They may be changed while the server runs.
    """

    def __init__(self, chosen: Mapping[str, str] | None = None, profile: str = "") -> None:
        """Raises UnknownSwitchError, also for an unknown profile ("" is the default one)."""
        self._values = {switch.name: switch.default for switch in SWITCHES}
        # Defaults first, then the profile, then single switches: each overrides the one before.
        self.update(require_profile(profile or DEFAULT_PROFILE).values)
        self.update(chosen or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def has_value(self, name: str, value: str) -> bool:
        return self._values[name] == value

    def update(self, chosen: Mapping[str, str]) -> None:
        """Set these switches, all or none. Raises UnknownSwitchError."""
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
