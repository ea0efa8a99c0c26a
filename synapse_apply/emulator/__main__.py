"""Which commands and options `python -m synapse_apply.emulator` has: serve, reset, table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core.backend import MAX_UPLOAD, ServeError, ServerSettings
from synapse_apply.emulator.core.store import DataSetError
from synapse_apply.emulator.core.switches import PAGE, UnknownSwitchError
from synapse_apply.emulator.data_set import reset_data_set_if_any
from synapse_apply.emulator.faults.rules import FaultsError, read_valid_fault_document
from synapse_apply.emulator.serve import serve

DEFAULT_DATA = Path(".synapse-apply/embedded")


def _parse_name_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    return name, value


def _build_argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synapse_apply.emulator")
    commands = parser.add_subparsers(dest="command", required=True)
    serve_parser = commands.add_parser("serve", help="serve a data set until stopped")
    reset_parser = commands.add_parser("reset", help="remove all objects of a data set")
    commands.add_parser("table", help="print the page of endpoints, behaviours and switches")
    for command in (serve_parser, reset_parser):
        command.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    add_argument = serve_parser.add_argument
    add_argument("--host", default="127.0.0.1")
    add_argument("--port", type=int, default=0, help="the port; 0 picks a free one")
    add_argument("--token", help="the access token to require; random by default")
    add_argument("--any-token", action="store_true", help="accept any token")
    add_argument("--tenant", default="default", metavar="NAME")
    pairs: dict[str, Any] = {"type": _parse_name_value, "action": "append", "default": []}
    add_argument("--tenant-token", metavar="TENANT=TOKEN", **pairs)
    add_argument("--latency", type=float, default=0.0, metavar="MS")
    add_argument("--job-seconds", type=float, default=0.2, metavar="SECONDS")
    add_argument("--max-upload", type=int, default=MAX_UPLOAD, metavar="BYTES")
    add_argument("--faults", type=Path, metavar="FILE", help="the fault rules (docs/faults.md)")
    profile_help = "page or vendor; the data set keeps it"
    add_argument("--profile", default="", metavar="NAME", help=profile_help)
    add_argument("--switch", metavar="NAME=VALUE", **pairs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 for an error, which is printed to stderr."""
    options = _build_argument_parser().parse_args(arguments)
    try:
        if options.command == "serve":
            settings = ServerSettings(
                switches=dict(options.switch),
                profile=options.profile,
                token=options.token or "",
                tenant=options.tenant,
                any_token=options.any_token,
                # TENANT=TOKEN on the command line; a request is looked up by its token.
                tokens={token: tenant for tenant, token in options.tenant_token},
                latency=options.latency,
                job_seconds=options.job_seconds,
                max_upload=options.max_upload,
                faults=read_valid_fault_document(options.faults) if options.faults else None,
            )
            serve(options.data, host=options.host, port=options.port, settings=settings)
        elif options.command == "reset":
            reset_data_set_if_any(options.data)
        else:
            sys.stdout.write(PAGE.read_text(encoding="utf-8"))
    # Mistakes of the user; anything else is a bug and keeps its traceback.
    except (ServeError, DataSetError, UnknownSwitchError, FaultsError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
