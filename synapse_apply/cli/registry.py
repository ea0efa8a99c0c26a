"""Which commands there are: a static table, so that help imports none of them."""

from __future__ import annotations

from synapse_apply.cli.help_pages import CommandEntry

_COMMANDS = "synapse_apply.cli.commands"


# They work, but no help lists them: a state or a person who needs one is told its name.
_UNLISTED = frozenset({"accept-push", "forget-rule", "rebind", "record", "schema", "version"})


def _read_table(text: str, module: str = "") -> dict[str, CommandEntry]:
    """A command a line, with its summary, and before it its module where none is given for all.

    Lines that are not indented are headings of the help page. The function of `forget-rule` is
    `forget_rule`; a name of Python's own has a line behind it, as `list_`.
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
        function = name.replace("-", "_") + "_" * (name in {"import", "list"})
        place = place if ":" in place else f"{place}:{function}"
        entries[name] = CommandEntry(
            f"{_COMMANDS}.{place}", summary, heading, name not in _UNLISTED
        )
    return entries


COMMANDS = _read_table("""
Main commands
  init        project               Write a project file, or a manifest to fill in.
  validate    checks                Check manifests without a backend or secrets.
  plan        plan                  Show what apply would do.
  apply       plan                  Change the backend to match the manifests.
  drift       plan                  Show what was changed outside Git, or write it to the manifests.
  show        show                  Show a resource as declared, recorded and live, or a saved plan.
  import      adopt                 Record existing objects in the state.
  state       state:group           Manage a target's state: history, open calls, backup.
  doctor      checks                Check a target and list every problem.
  controller  controller:group      Follow Git continuously, and show every target on a page.
Manifests and packages
  export      adopt                 Write manifests and ids of live objects.
  bump        package               Raise the version of a release in its files.
  package     package:group         Inspect packages: show, build, diff.
  explain     project               Explain a field of a manifest or of the project file.
Live objects and jobs
  get         show                  Show or list live plugins, releases, storages and jobs.
  blame       show                  Show where each live value of an object comes from.
  run         jobs                  Run a plugin and follow its job.
  verify      plan                  Run a release to check that it works.
  jobs        jobs:group            Follow the log of a job, or stop it.
For other programs
  mcp         show                  Let an AI agent read a target over MCP.
  emulator    emulator              Run the embedded backend, or reset it.
  completion  project               Print the completion script for a shell.
  schema      project               Print a JSON schema for editors.
  version     project               Show the version.
""")
STATE = _read_table(
    """
Commands
  init        Create an empty state for a target.
  show        List the records, or show one record.
  history     List past runs: who ran them, when, and what they did.
  key         Show the state key and its location, or copy the key.
  rm          Forget records and keep the live objects.
  mv          Rename an address.
  backup      Copy the whole state to a file or to another store.
Repairs (messages name the right command)
  settle      Look up calls whose outcome is unknown, or record how they ended.
  accept      Accept the live object with its current values.
  unlock      Remove a stale lock from the state.
  rebind      Bind the state to the target's current url and tenant.
  rekey       Compute the digests of secrets with the current key.
  restore     Replace the state with a backup.
  record      Record calls of a run that could not write the state.
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
  show        Show which files a package includes or leaves out, and its digest.
  build       Write the zip of a package to a file.
  diff        Show which files differ from the published files.
""",
    "package",
)
CONTROLLER = _read_table(
    """
  run         Follow sources and keep their targets in sync, until you stop it.
  check       Check a controller's configuration without reading secrets.
  status      List a controller's targets and their states.
  reconcile   Check targets now.
  pause       Stop applying to targets for a while.
  resume      End pauses.
  approve     Show the rows that await approval, and approve them.
  reject      Reject rows that await approval.
  forget-rule Forget for which backends the rules of targets were given.
  accept-push Accept a force push to a source's branch once.
  rollback    Roll targets back to an earlier revision and keep them there.
  rollout     Show the progress of rollouts, and decide on them.
  audit       List who did what, and check that no row was changed.
  backup      Copy a controller's store to a file.
""",
    "controller",
)
GROUPS = frozenset({"package", "state", "jobs", "controller"})

OPTIONS = (
    ("-C, --chdir FOLDER", "work in this folder"),
    (
        "--project FILE",
        ("the project file (default: synapse-apply.yaml here or in a parent folder)"),
    ),
    ("--color auto|always|never", "when to print colours; auto prints them only on a terminal"),
    ("--parallelism N", "how many calls run at the same time (default: 10)"),
    ("-h, --help", "show the help; for `plan` and `apply` only the most used options"),
    ("--help-all", "show the complete help"),
)
EXITS = (
    ("0", "success"),
    ("1", "error before the first call was sent, or the answer was not `yes`"),
    ("2", "with --detailed-exitcode: changes or refusals (plan), or drift (drift)"),
    ("3", "the apply is incomplete: a resource failed or was skipped"),
    ("4", "the plan is out of date or was not reviewed"),
    ("5", "refused: a guard, a protection, or rows marked !"),
    ("6", "the state is locked by another run"),
    ("7", "the outcome of a call is unknown; the next run looks it up"),
    ("64", "usage error, such as an unknown option or command"),
    ("130, 143", "stopped by Ctrl-C (130), SIGTERM or SIGHUP (143)"),
)
ENVIRONMENT = (
    (
        "SYNAPSE_HOST, SYNAPSE_ACCESS_TOKEN, SYNAPSE_TENANT",
        (
            "used for values that the project file omits; they override the vendor's "
            "~/.synapse/config.json"
        ),
    ),
    (
        "SYNAPSE_APPLY_HOSTS",
        ("hosts that may receive a token: [http://]host[:port], comma-separated"),
    ),
    ("SYNAPSE_APPLY_STATE_KEY", "the key for digests and signatures: at least 32 bytes in base64"),
    ("SYNAPSE_APPLY_STATE_KEY_<TARGET>", "the key for one target: ..._PROD_EU for prod-eu"),
    ("SYNAPSE_APPLY_PARALLELISM", "the default of --parallelism"),
    ("SYNAPSE_APPLY_INPUT=0", "never ask for input, even on a terminal"),
    ("SYNAPSE_APPLY_IN_AUTOMATION", "if set, print no hints about what to do next"),
    ("SYNAPSE_APPLY_LOG", "trace, debug, info, warn, error, json or off; logs contain no secrets"),
    ("SYNAPSE_APPLY_LOG_PATH", "append logs to this file instead of stderr"),
    (
        "TRACEPARENT",
        "the W3C trace context of a run: sent to the backend, logged, and recorded in the history",
    ),
    ("NO_COLOR, FORCE_COLOR", "turn colours off or on"),
)
