"""Which commands there are: a static table, so that help imports none of them."""

from __future__ import annotations

from synapse_apply.cli.help_pages import CommandEntry

_COMMANDS = "synapse_apply.cli.commands"


# They work, but no help lists them: a state or a person who needs one is told its name.
_UNLISTED = frozenset({"forget-rule", "rebind", "record", "schema", "version"})


def _read_table(text: str, module: str = "", prefix: str = "") -> dict[str, CommandEntry]:
    """A command a line, with its summary, and before it its module where none is given for all.

    Lines that are not indented are headings of the help page. The function of `forget-rule` is
    `forget_rule`, behind the prefix; a name of Python's own has a line behind it, as `list_`.
    """
    entries, heading = {}, "Commands"
    for line in text.strip("\n").splitlines():
        if not line.startswith(" "):
            heading = line
            continue
        name, summary = line.split(maxsplit=1)
        place = module
        if not module:
            place, summary = summary.split(maxsplit=1)
        function = prefix + name.replace("-", "_") + "_" * (name in {"import", "list"})
        place = place if ":" in place else f"{place}:{function}"
        entries[name] = CommandEntry(
            f"{_COMMANDS}.{place}", summary, heading, name not in _UNLISTED
        )
    return entries


COMMANDS = _read_table("""
Main commands
  init        project               Write a project file, or a manifest to fill in.
  validate    checks                Check manifests; needs no backend, no secret.
  plan        plan                  Show what apply would do.
  apply       plan                  Change the backend to match the manifests.
  drift       plan                  Show what was changed outside, or write it into the files.
  show        show                  Show a resource from all sides, or a saved plan.
  import      adopt                 Record existing objects in the state.
  state       state:group           Manage a target's state: history, open calls, backup.
  doctor      checks                Check a target and list every problem.
  controller  controller:group      Follow Git all the time, and show every target on a page.
Manifests and packages
  export      adopt                 Write manifests and ids of live objects.
  bump        package               Raise the version of a release, in its files.
  package     package:group         Inspect packages: show, build, diff.
  explain     project               Explain a field of a manifest or of the project file.
On the backend itself
  get         show                  Show or list live plugins, releases, storages and jobs.
  run         jobs                  Run a plugin, and follow its job.
  verify      plan                  Run a release now to see that it works.
  jobs        jobs:group            Follow the log of a job, or stop it.
For other programs
  mcp         show                  Let an AI agent read a target, by MCP.
  emulator    emulator              Serve the embedded backend, or start it over.
  completion  project               Print the completion script of a shell.
  schema      project               Print a JSON schema, for editors.
  version     project               Show the version.
""")
STATE = _read_table(
    """
Commands
  init        Create an empty state for a target.
  show        List what is recorded, or show one record.
  history     List what was done, by whom and when.
  key         Show which key the state has, and where it is, or copy it.
  rm          Forget records; the live objects stay.
  mv          Rename an address.
  backup      Copy the whole state to a file, or to another store.
Repairs, printed where one is needed
  settle      Find out, or say, how calls ended whose outcome is unknown.
  accept      Accept the live object as it is.
  unlock      Remove the lock of a run that is gone.
  rebind      Bind the state to the target's url and tenant as they are.
  rekey       Recompute the digests of secrets with the current key.
  restore     Replace the state by a backup.
  record      Record what a run did and could not record.
""",
    "state",
)
JOBS = _read_table(
    """
  logs        Show or follow the log of a job.
  stop        Stop a job (API v2).
""",
    "jobs",
)
PACKAGE = _read_table(
    """
  show        Show what is in it, what is left out, by which rule, and its digest.
  build       Write its zip to a file.
  diff        Show which files differ from what was published.
""",
    "package",
)
CONTROLLER = _read_table(
    """
  run         Follow sources and keep their targets as they say, until stopped.
  check       Check a controller's configuration; reads no secret.
  status      List a controller's targets and their states.
  reconcile   Have targets looked at now.
  pause       Have nothing applied to targets for a while.
  resume      End pauses.
  approve     Show the rows that wait for a person, and approve them.
  reject      Say of waiting rows that they are not to be done.
  forget-rule Forget for which backends rules were given.
  rollback    Bring targets back to an earlier revision, where they stay.
  rollout     See how far rollouts are, and decide on them.
  audit       List who did what, and check that nothing was changed.
  backup      Copy a controller's store to a file.
""",
    "controller",
)
GROUPS = frozenset({"package", "state", "jobs", "controller"})

OPTIONS = (
    ("-C, --chdir FOLDER", "work in this folder"),
    ("--project FILE", "the project file, instead of synapse-apply.yaml here or above"),
    ("--color auto|always|never", "colour, instead of only on a terminal"),
    ("--parallelism N", "how many calls go on at once; 10 unless given"),
    ("-h, --help", "show a command's page: of `plan` and `apply` the most used options"),
    ("--help-all", "show all of the page"),
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
    ("SYNAPSE_APPLY_HOSTS", "hosts a token may go to: [http://]host[:port], comma-separated"),
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
