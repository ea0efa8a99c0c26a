"""The commands that need no target: files to begin with, schemas, completion, the version."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from synapse_apply import __version__
from synapse_apply.cli import options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.options import option
from synapse_apply.cli.typed import SHELLS, build_completion_script
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError
from synapse_apply.model.phrases import shown_path


@manual_command(
    "init",
    examples={
        "init": "Write a project file and a first manifest to this folder.",
        "init --from plugins/yolo": "Write the manifests of an existing plugin folder.",
        "init storage raw-data": "Print the manifest of a storage on Amazon S3.",
        "init storage nas --provider smb --out manifests/nas.yaml": (
            "Write the manifest of an SMB storage to a file."
        ),
        "init release yolo@1.2.0": "Print the manifest of a release of plugin yolo.",
        "init --pin": "Make every machine and CI job use this version.",
    },
    exits={"0": "written", "1": "a file already exists; nothing was written"},
)
@options.use("color")
@option(
    "-C, --chdir FOLDER",
    "Work in this folder.",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@option(
    "--from FOLDER",
    "Write the Plugin and Release manifests of this plugin folder.",
    name="plugin",
    type=click.Path(path_type=Path),
)
@click.argument("kind", type=click.Choice([*CATALOGUE]), metavar="[KIND NAME]", required=False)
@click.argument("name", metavar="", required=False)
@click.option(
    "--provider",
    default="amazon_s3",
    show_default=True,
    help="The storage's provider; `synapse-apply schema` lists them.",
)
@option(
    "--out FILE",
    "Write the manifest to this file, which must not exist yet.",
    type=click.Path(dir_okay=False, path_type=Path),
)
@option(
    "--pin",
    "Write this version to the project file as `required_version`, even if the file already "
    "exists. Every other version then fails with an error.",
)
def init(
    *,
    console: Console,
    chdir: Path | None,
    plugin: Path | None,
    kind: str | None,
    name: str | None,
    provider: str,
    out: Path | None,
    pin: bool,
) -> int:
    """Write a project file (synapse-apply.yaml) and first manifests, or one manifest to fill in.

    The command never overwrites a file, and sends nothing. Inside a project, --from adds only the
    plugin's manifests.

    With KIND and NAME, the command writes only a manifest, to stdout or to --out. KIND is storage,
    plugin or release. Replace each CHANGE-ME: until then the manifest is not valid. Optional fields
    are commented out. Secrets come from the environment, never from the manifest.
    """
    from synapse_apply.manifests.project.project import FILE_NAME, find_project_file
    from synapse_apply.operations import init
    from synapse_apply.workspace.invocation import Invocation

    folder = Path.cwd() / chdir if chdir else Path.cwd()
    if kind:
        if not name or plugin or pin:
            raise click.UsageError(
                "A manifest needs KIND and NAME, and cannot be combined with --from and --pin."
            )
        text = init.write_template(folder, init.build_manifest_template(kind, name, provider), out)
        console.write_output(text if out is None else f"Wrote {out}\n")
        return 0
    if out:
        raise click.UsageError("--out needs KIND and NAME.")
    project_file = find_project_file(folder)
    if plugin or not (pin and project_file):
        project_scaffold = (
            init.build_plugin_scaffold(folder, folder / plugin)
            if plugin
            else init.build_project_scaffold(folder)
        )
        project_scaffold.write_scaffold()
        for path in project_scaffold.files:
            console.write_output(f"Wrote {shown_path(path)}\n")
    if pin:
        path = project_file or folder / FILE_NAME
        init.pin_version(path)
        console.write_output(f"Pinned version {__version__} in {shown_path(path)}\n")
    if console.shows_hints:
        invocation = Invocation(folder, environ=console.environ, on_terminal=console.is_interactive)
        command_line, target_text = "plan -t TARGET", "that target"
        # Without a target that is clear, or with a project file that cannot be read.
        with suppress(InputError), options.open_target(invocation) as target:
            command_line, target_text = "plan", f"target {target.name}"
        next_step = Text(Command(command_line), f" shows what apply would do on {target_text}.")
        console.write_output(f"\nNext: {options.add_invocation_options(next_step, invocation)}\n")
    return 0


@manual_command(
    "explain",
    examples={
        "explain storage": "Explain the manifest of a storage.",
        "explain release.spec.verify": "Explain a field and the fields below it.",
        "explain storage --provider smb": "Explain what this provider needs.",
        "explain project.targets.NAME": "Explain a target in the project file.",
        "explain package:version": "Explain a rule for packages.",
    },
    exits={"0": "explained", "1": "the kind, field, provider or rule does not exist"},
)
@options.use("color")
@click.argument("name", metavar="KIND[.FIELD]")
@option(
    "--provider NAME",
    "Explain a storage's `spec.configuration`, or one of its fields, for this provider.",
)
def explain(*, console: Console, name: str, provider: str | None) -> int:
    """Explain a kind or a field: its type, whether it is required, its values and its fields.

    KIND is plugin, release, storage, project, policy or package-config. Join the parts of a nested
    FIELD with dots, as in spec.name. The command also explains a rule for packages, such as
    package:version. The command reads the schemas of this version, and needs neither a project nor
    a backend. To get a whole schema for an editor, use `synapse-apply schema`.
    """
    from synapse_apply.cli.texts.explain import print_explained
    from synapse_apply.library import explain

    if provider is not None:
        kind, _, path = name.partition(".spec")
        field = path.removeprefix(".configuration")
        has_provider = "provider" in explain(f"{kind}.spec").get("fields", ())
        if not has_provider or field[:1] not in {"", "."} or (field and field == path):
            raise click.UsageError(
                "--provider works only with `storage`, `storage.spec.configuration` and its fields."
            )
        name = provider + field
    parent, dot, last = name.rpartition(".")
    explained = explain(name)
    is_required = bool(dot) and last in explain(parent).get("required", ())
    return print_explained(console, explained, is_required=is_required)


@manual_command(
    "schema",
    examples={
        "schema": "List the schemas.",
        "schema manifest > manifest.schema.json": (
            "Write the schema of manifests to a file for an editor."
        ),
    },
    exits={"0": "printed", "1": "there is no schema with this name"},
)
@options.use("color")
@click.argument("name", required=False)
def schema(*, console: Console, name: str | None) -> int:
    """Print a JSON schema (2020-12) as one self-contained document.

    Editors with a YAML language server can use the schema `manifest` for manifests and `project`
    for synapse-apply.yaml.
    """
    from synapse_apply.manifests.schemas import format_schema, list_schema_names

    console.write_output(format_schema(name) if name else "\n".join(list_schema_names()) + "\n")
    return 0


_BASH_COMMAND = "synapse-apply completion bash"
_BASH_COMPLETION_FILE = "~/.local/share/bash-completion/completions/synapse-apply"


@manual_command(
    "completion",
    examples={
        f"{_BASH_COMMAND} > {_BASH_COMPLETION_FILE}": (
            "bash with bash-completion: the script loads on first use."
        ),
        'eval "$(synapse-apply completion bash)"': (
            "bash without bash-completion: add this line to ~/.bashrc."
        ),
        "completion zsh > ~/.zfunc/_synapse-apply": "zsh: write the script to a folder of $fpath.",
        "completion fish > ~/.config/fish/completions/synapse-apply.fish": (
            "fish: write the script to the completions folder."
        ),
    },
)
@options.use("color")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def completion(*, console: Console, shell: str) -> int:
    """Print the script that lets a shell complete commands, options, targets and addresses.

    The names come from the project's files in the working folder (or the folder that -C sets),
    never from the network. If the files cannot be read, the shell offers no names and prints no
    error.
    """
    from synapse_apply.cli.main import root

    console.write_output(build_completion_script(root, shell))
    return 0


@manual_command(
    "version",
    examples={
        "version": "Show the version, and the version of Python.",
        "version --json": "Print JSON for a script.",
    },
)
@options.use("json")
def version(*, console: Console) -> int:
    """Show the version of synapse-apply."""
    import platform

    if not console.as_json:
        console.write_output(f"synapse-apply {__version__} (Python {platform.python_version()})\n")
        return 0
    import re
    from importlib.metadata import requires

    # The extras whose libraries are all there; none where the package itself is not installed.
    present: dict[str, bool] = {}
    for text in (requires("synapse-apply") or ()) if is_installed("synapse-apply") else ():
        if match := re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)", text):
            present[match[2]] = present.get(match[2], True) and is_installed(match[1])
    console.write_or_keep_document(
        {
            "version": __version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "extras": sorted(name for name, is_there in present.items() if is_there),
        }
    )
    return 0


def is_installed(name: str) -> bool:
    """Whether the environment has a distribution of that name."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
