"""Every command there is, in one static table: help is written without importing any of them."""

from __future__ import annotations

from synapse_apply.cli.manual import Entry

_START, _WORK, _LOOK, _MORE = "Getting started", "Main commands", "Looking closer", "Further"
_LIVE = "On the backend itself"
_HERE = "synapse_apply.cli"


def _entry(module: str, summary: str, section: str = "Commands") -> Entry:
    return Entry(f"{_HERE}.{module}", summary, section)


COMMANDS = {
    "init": _entry("commands.init", "Write a project file and first manifests.", _START),
    "new": _entry("commands.new", "Write a manifest to fill in.", _START),
    "validate": _entry("commands.validate", "Check manifests; needs no backend, no secret.", _WORK),
    "plan": _entry("commands.plan", "Show what apply would do.", _WORK),
    "apply": _entry("commands.apply", "Make the backend what the manifests say.", _WORK),
    "drift": _entry("commands.drift", "Show what was changed outside; or take it over.", _WORK),
    "bump": _entry("commands.bump", "Raise the version of a release, in its files.", _WORK),
    "verify": _entry("commands.verify", "Run a release now to see that it works.", _WORK),
    "show": _entry("commands.show", "Show a resource from all sides, or a saved plan.", _LOOK),
    "doctor": _entry("commands.doctor", "Say everything that is wrong with a target.", _LOOK),
    "graph": _entry("commands.graph", "Print what depends on what, as a graph.", _LOOK),
    "history": _entry("commands.history", "List what was done, by whom and when.", _LOOK),
    "import": _entry("commands.import_", "Take objects that exist into the state.", _LOOK),
    "export": _entry("commands.export", "Turn what is live into manifests and ids.", _LOOK),
    "settle": _entry("commands.settle", "Find out how calls ended that nobody saw end.", _LOOK),
    "package": _entry("package.group", "Look at packages: check, build, digest, diff.", _LOOK),
    "state": _entry("state.group", "Look after the state of a target.", _LOOK),
    "agents": _entry("agents.group", "Check the health of a target's agents.", _LOOK),
    "run": _entry("commands.run", "Run a plugin, and follow its job.", _LIVE),
    "jobs": _entry("jobs.group", "List, show, follow, stop and update jobs.", _LIVE),
    "plugins": _entry("plugins.group", "Show a plugin as it is live.", _LIVE),
    "releases": _entry("releases.group", "Show and list releases as they are live.", _LIVE),
    "storages": _entry("storages.group", "Show and list storages, without their secrets.", _LIVE),
    "emulator": _entry("emulator.group", "Serve or reset the embedded backend.", _MORE),
    "unlock": _entry("commands.unlock", "Remove the lock of a run that is gone.", _MORE),
    "completion": _entry("commands.completion", "Print the completion script of a shell.", _MORE),
    "schema": _entry("commands.schema", "Print a JSON schema, for editors.", _MORE),
    "version": _entry("commands.version", "Show the version.", _MORE),
}
STATE = {
    "init": _entry("state.init", "Make an empty state for a target."),
    "list": _entry("state.listing", "List what is recorded."),
    "show": _entry("state.show", "Show one record."),
    "rm": _entry("state.rm", "Forget records; the live objects stay."),
    "mv": _entry("state.mv", "Rename an address."),
    "accept": _entry("state.accept", "Take the live object as it is for settled."),
    "settle": _entry("state.settle", "Say what became of a call of unknown outcome."),
    "rebind": _entry("state.rebind", "Bind the state to the target's url and tenant as they are."),
    "rekey": _entry("state.rekey", "Make the digests of secrets anew with the current key."),
    "backup": _entry("state.backup", "Copy the whole state to a file."),
    "restore": _entry("state.restore", "Replace the state by a backup."),
    "recover": _entry("state.recover", "Record what a run did and could not record."),
    "migrate": _entry("state.migrate", "Copy the state to another store."),
    "inventory": _entry("state.inventory", "Print addresses and ids, for `import -f`."),
}
JOBS = {
    "list": _entry("jobs.listing", "List jobs by status, plugin, date or user."),
    "get": _entry("jobs.get", "Show a job."),
    "logs": _entry("jobs.logs", "Show or follow the log of a job."),
    "stop": _entry("jobs.stop", "Stop a job (API v2)."),
    "update": _entry("jobs.update", "Report on a job: status, progress, result."),
}
PLUGINS = {"get": _entry("plugins.get", "Show a plugin.")}
RELEASES = {
    "list": _entry("releases.listing", "List the releases of a plugin."),
    "get": _entry("releases.get", "Show a release."),
}
STORAGES = {
    "list": _entry("storages.listing", "List the storages."),
    "get": _entry("storages.get", "Show a storage."),
}
PACKAGE = {
    "check": _entry("package.check", "Say what the platform would refuse or ignore in it."),
    "show": _entry("package.show", "Show what is in it, what is left out, and by which rule."),
    "digest": _entry("package.digest", "Print its digest."),
    "build": _entry("package.build", "Write its zip to a file."),
    "diff": _entry("package.diff", "Show which files differ from what was published."),
}
EMULATOR = {
    "serve": _entry("emulator.serve", "Serve the embedded backend until stopped."),
    "reset": _entry("emulator.reset", "Remove its objects and the state of target embedded."),
}
AGENTS = {
    "check": _entry("agents.check", "Check the health of agents."),
}
GROUPS = frozenset(
    {"package", "state", "agents", "jobs", "plugins", "releases", "storages", "emulator"}
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
    ("SYNAPSE_APPLY_ARGS, SYNAPSE_APPLY_ARGS_<command>", "options put right after the command"),
    ("SYNAPSE_APPLY_CACHE=off", "read packages anew, and keep nothing of what they hold"),
    ("SYNAPSE_APPLY_PARALLELISM", "default of --parallelism"),
    ("SYNAPSE_APPLY_INPUT=0", "never ask, even on a terminal"),
    ("SYNAPSE_APPLY_IN_AUTOMATION", "set: no hints about what to do next"),
    ("SYNAPSE_APPLY_LOG", "trace, debug, info, warn, error, json or off; never a secret"),
    ("SYNAPSE_APPLY_LOG_PATH", "file that logs are appended to, instead of stderr"),
    ("NO_COLOR, FORCE_COLOR", "colour off, on"),
)
