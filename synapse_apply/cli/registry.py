"""Which commands there are: a static table, so that help imports none of them."""

from __future__ import annotations

from typing import Any

from synapse_apply.cli.help_pages import CommandEntry, RenamedCommand

_START_SECTION, _MAIN_SECTION, _DETAIL_SECTION, _FURTHER_SECTION = (
    "Getting started",
    "Main commands",
    "Looking closer",
    "Further",
)
_LIVE_SECTION = "On the backend itself"
_CLI_PACKAGE = "synapse_apply.cli"


def _build_command_entry(module: str, summary: str, section: str = "Commands") -> CommandEntry:
    return CommandEntry(f"{_CLI_PACKAGE}.{module}", summary, section)


COMMANDS = {
    "init": _build_command_entry(
        "commands.init", "Write a project file and first manifests.", _START_SECTION
    ),
    "new": _build_command_entry("commands.new", "Write a manifest to fill in.", _START_SECTION),
    "validate": _build_command_entry(
        "commands.validate", "Check manifests; needs no backend, no secret.", _MAIN_SECTION
    ),
    "plan": _build_command_entry("commands.plan", "Show what apply would do.", _MAIN_SECTION),
    "apply": _build_command_entry(
        "commands.apply", "Change the backend to match the manifests.", _MAIN_SECTION
    ),
    "drift": _build_command_entry(
        "commands.drift",
        "Show what was changed outside, or write it into the files.",
        _MAIN_SECTION,
    ),
    "bump": _build_command_entry(
        "commands.bump", "Raise the version of a release, in its files.", _MAIN_SECTION
    ),
    "verify": _build_command_entry(
        "commands.verify", "Run a release now to see that it works.", _MAIN_SECTION
    ),
    "show": _build_command_entry(
        "commands.show", "Show a resource from all sides, or a saved plan.", _DETAIL_SECTION
    ),
    "doctor": _build_command_entry(
        "commands.doctor", "Check a target and list every problem.", _DETAIL_SECTION
    ),
    "graph": _build_command_entry("commands.graph", "Print the dependency graph.", _DETAIL_SECTION),
    "import": _build_command_entry(
        "commands.import_", "Record existing objects in the state.", _DETAIL_SECTION
    ),
    "export": _build_command_entry(
        "commands.export", "Write manifests and ids of live objects.", _DETAIL_SECTION
    ),
    "package": _build_command_entry(
        "commands.package:group", "Inspect packages: check, build, digest, diff.", _DETAIL_SECTION
    ),
    "state": _build_command_entry(
        "commands.state:group",
        "Manage a target's state: history, open calls, backup.",
        _DETAIL_SECTION,
    ),
    "agents": _build_command_entry(
        "commands.agents:group", "Check the health of a target's agents.", _DETAIL_SECTION
    ),
    "get": _build_command_entry(
        "commands.get", "Show or list plugins, releases, storages as live.", _LIVE_SECTION
    ),
    "run": _build_command_entry("commands.run", "Run a plugin, and follow its job.", _LIVE_SECTION),
    "jobs": _build_command_entry(
        "commands.jobs:group", "List, show, follow, stop and update jobs.", _LIVE_SECTION
    ),
    "controller": _build_command_entry(
        "commands.controller:group",
        "Follow Git all the time, and show every target on a page.",
        _FURTHER_SECTION,
    ),
    "mcp": _build_command_entry(
        "commands.mcp", "Let an AI agent read a target, by MCP.", _FURTHER_SECTION
    ),
    "emulator": _build_command_entry(
        "commands.emulator:group", "Serve or reset the embedded backend.", _FURTHER_SECTION
    ),
    "completion": _build_command_entry(
        "commands.completion", "Print the completion script of a shell.", _FURTHER_SECTION
    ),
    "schema": _build_command_entry(
        "commands.schema", "Print a JSON schema, for editors.", _FURTHER_SECTION
    ),
    # What people need of it is the option --version.
    "version": CommandEntry(
        f"{_CLI_PACKAGE}.commands.version", "Show the version.", _FURTHER_SECTION, is_listed=False
    ),
}
STATE = {
    "init": _build_command_entry("commands.state:init", "Create an empty state for a target."),
    "list": _build_command_entry("commands.state:list_", "List what is recorded."),
    "show": _build_command_entry("commands.state:show", "Show one record."),
    "rm": _build_command_entry("commands.state:rm", "Forget records; the live objects stay."),
    "mv": _build_command_entry("commands.state:mv", "Rename an address."),
    "accept": _build_command_entry("commands.state:accept", "Accept the live object as it is."),
    "settle": _build_command_entry(
        "commands.state:settle", "Find out, or say, how calls ended whose outcome is unknown."
    ),
    "rebind": _build_command_entry(
        "commands.state:rebind", "Bind the state to the target's url and tenant as they are."
    ),
    "rekey": _build_command_entry(
        "commands.state:rekey", "Recompute the digests of secrets with the current key."
    ),
    "backup": _build_command_entry("commands.state:backup", "Copy the whole state to a file."),
    "restore": _build_command_entry("commands.state:restore", "Replace the state by a backup."),
    "record": _build_command_entry(
        "commands.state:record", "Record what a run did and could not record."
    ),
    "migrate": _build_command_entry("commands.state:migrate", "Copy the state to another store."),
    "inventory": _build_command_entry(
        "commands.state:inventory", "Print addresses and ids, for `import -f`."
    ),
    "history": _build_command_entry(
        "commands.state:history", "List what was done, by whom and when."
    ),
    "unlock": _build_command_entry(
        "commands.state:unlock", "Remove the lock of a run that is gone."
    ),
}
JOBS = {
    "list": _build_command_entry(
        "commands.jobs:list_", "List jobs by status, plugin, date or user."
    ),
    "get": _build_command_entry("commands.jobs:get", "Show a job."),
    "logs": _build_command_entry("commands.jobs:logs", "Show or follow the log of a job."),
    "stop": _build_command_entry("commands.jobs:stop", "Stop a job (API v2)."),
    "update": _build_command_entry(
        "commands.jobs:update", "Report on a job: status, progress, result."
    ),
}
PACKAGE = {
    "check": _build_command_entry(
        "commands.package:check", "Check it for what the platform would refuse or ignore."
    ),
    "show": _build_command_entry(
        "commands.package:show", "Show what is in it, what is left out, and by which rule."
    ),
    "digest": _build_command_entry("commands.package:digest", "Print its digest."),
    "build": _build_command_entry("commands.package:build", "Write its zip to a file."),
    "diff": _build_command_entry(
        "commands.package:diff", "Show which files differ from what was published."
    ),
}
EMULATOR = {
    "serve": _build_command_entry(
        "commands.emulator:serve", "Serve the embedded backend until stopped."
    ),
    "reset": _build_command_entry(
        "commands.emulator:reset", "Remove its objects and the state of target embedded."
    ),
}
CONTROLLER = {
    "run": _build_command_entry(
        "commands.controller:run",
        "Follow sources and keep their targets as they say, until stopped.",
    ),
    "worker": _build_command_entry(
        "commands.controller:worker", "Work beside the replicas of a controller."
    ),
    "check": _build_command_entry(
        "commands.controller:check", "Check a controller's configuration; reads no secret."
    ),
    "status": _build_command_entry(
        "commands.controller:status", "List a controller's targets and their states."
    ),
    "reconcile": _build_command_entry(
        "commands.controller:reconcile", "Have targets looked at now."
    ),
    "pause": _build_command_entry(
        "commands.controller:pause", "Have nothing applied to targets for a while."
    ),
    "resume": _build_command_entry("commands.controller:resume", "End pauses."),
    "approve": _build_command_entry(
        "commands.controller:approve", "Show the rows that wait for a person, and approve them."
    ),
    "reject": _build_command_entry(
        "commands.controller:reject", "Say of waiting rows that they are not to be done."
    ),
    "forget-rule": _build_command_entry(
        "commands.controller:forget_rule", "Forget for which backends rules were given."
    ),
    "rollout": _build_command_entry(
        "commands.controller_rollout:group", "See how far rollouts are, and decide on them."
    ),
    "audit": _build_command_entry(
        "commands.controller:audit", "List who did what, and check that nothing was changed."
    ),
    "backup": _build_command_entry(
        "commands.controller:backup", "Copy a controller's store to a file."
    ),
}
CONTROLLER_ROLLOUT = {
    "status": _build_command_entry(
        "commands.controller_rollout:status", "Say which revision is where, wave by wave."
    ),
    "approve": _build_command_entry(
        "commands.controller_rollout:approve", "Let the next wave begin."
    ),
    "resume": _build_command_entry(
        "commands.controller_rollout:resume", "Go on with one that is stopped."
    ),
    "skip": _build_command_entry(
        "commands.controller_rollout:skip", "Close the open wave without evidence."
    ),
    "abort": _build_command_entry(
        "commands.controller_rollout:abort", "Bring a revision no further."
    ),
}
AGENTS = {"check": _build_command_entry("commands.agents:check", "Check the health of agents.")}
GROUPS = frozenset({"package", "state", "agents", "jobs", "emulator", "controller"})


def _build_renamed_command(
    name: str, *first_arguments: str, module: str, **properties: Any
) -> RenamedCommand:
    return RenamedCommand(f"{_CLI_PACKAGE}.{module}", name, first_arguments, **properties)


# Names of before, which work for one more version: no help lists them, and each warns.
RENAMED_COMMANDS = {
    "plugins get": _build_renamed_command(
        "get", "plugin", module="commands.get", requires_name=True
    ),
    "releases get": _build_renamed_command(
        "get", "release", module="commands.get", requires_name=True
    ),
    "releases list": _build_renamed_command(
        "get releases", module="commands.renamed.releases_list", implied_option="--plugin"
    ),
    "storages get": _build_renamed_command(
        "get", "storage", module="commands.get", requires_name=True
    ),
    "storages list": _build_renamed_command("get", "storages", module="commands.get"),
    "state recover": _build_renamed_command("state record", module="commands.state:record"),
    "settle": _build_renamed_command("state settle", module="commands.state:settle"),
    "history": _build_renamed_command("state history", module="commands.state:history"),
    "unlock": _build_renamed_command("state unlock", module="commands.state:unlock"),
}

OPTIONS = (
    ("-C, --chdir FOLDER", "work in this folder"),
    ("--project FILE", "the project file, instead of synapse-apply.yaml here or above"),
    ("--color auto|always|never", "colour, instead of only on a terminal"),
    ("--no-color", "the same as --color=never"),
    ("--parallelism N", "how many calls go on at once; 10 unless given"),
    ("-h, --help", "show a command's page"),
)
EXITS = (
    ("0", "fine"),
    ("1", "error: nothing was sent, or `no` was the answer"),
    ("2", "--detailed-exitcode: there are changes or refusals (plan), or drift (drift)"),
    ("3", "apply is incomplete: something failed or was skipped"),
    ("4", "stale or unreviewed plan"),
    ("5", "refused: a guard, a protection, or rows marked !"),
    ("6", "the state is locked by another run"),
    ("7", "the outcome of a call is unknown; the next run looks it up"),
    ("64", "usage: an option or a command that does not exist"),
    ("130, 143", "stopped by Ctrl-C or SIGTERM"),
)
ENVIRONMENT = (
    (
        "SYNAPSE_HOST, SYNAPSE_ACCESS_TOKEN, SYNAPSE_TENANT",
        "fill what the project file leaves out, before the vendor's ~/.synapse/config.json",
    ),
    ("SYNAPSE_APPLY_HOSTS", "hosts a token may go to: host[:port], comma-separated"),
    ("SYNAPSE_APPLY_STATE_KEY", "key of digests and signatures: base64 of at least 32 bytes"),
    ("SYNAPSE_APPLY_STATE_KEY_<TARGET>", "the same for one target: ..._PROD_EU of prod-eu"),
    ("SYNAPSE_APPLY_PARALLELISM", "default of --parallelism"),
    ("SYNAPSE_APPLY_INPUT=0", "never ask, even on a terminal"),
    ("SYNAPSE_APPLY_IN_AUTOMATION", "set: no hints about what to do next"),
    ("SYNAPSE_APPLY_LOG", "trace, debug, info, warn, error, json or off; never a secret"),
    ("SYNAPSE_APPLY_LOG_PATH", "file that logs are appended to, instead of stderr"),
    ("TRACEPARENT", "the trace that a run is part of: sent, logged, and kept in the history"),
    ("NO_COLOR, FORCE_COLOR", "colour off, on"),
)
