"""`python -m synapse_apply.emulator`: serve, reset, or print the page of behaviours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from synapse_apply.emulator.core.fault_rules import FaultsError, read
from synapse_apply.emulator.core.store import DataSetError
from synapse_apply.emulator.core.switches import UnknownSwitchError
from synapse_apply.emulator.serve import ServeError, reset, serve, settings_of

DEFAULT_DATA = Path(".synapse-apply/embedded")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError("NAME=VALUE is wanted")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synapse_apply.emulator")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve a data set until stopped")
    resetting = commands.add_parser("reset", help="remove all objects of a data set")
    commands.add_parser("table", help="print the page of endpoints, behaviours and switches")
    for command in (serving, resetting):
        command.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    add = serving.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--token", help="the access token to ask for; a random one without this")
    add("--any-token", action="store_true", help="accept every token, from whoever asks")
    add("--tenant", default="default", metavar="NAME")
    add("--tenant-token", type=_pair, action="append", default=[], metavar="TENANT=TOKEN")
    add("--latency", type=float, default=0.0, metavar="MS")
    add("--job-seconds", type=float, default=0.2, metavar="SECONDS")
    add("--max-upload", type=int, metavar="BYTES")
    add("--faults", type=Path, metavar="FILE", help="what shall go wrong (docs/faults.md)")
    add("--profile", default="", metavar="NAME", help="page or vendor; kept with the data set")
    add("--switch", type=_pair, action="append", default=[], metavar="NAME=VALUE")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.command == "serve":
            settings = settings_of(
                switches=dict(options.switch),
                profile=options.profile,
                token=options.token,
                tenant=options.tenant,
                any_token=options.any_token,
                tokens={token: tenant for tenant, token in options.tenant_token},
                latency=options.latency,
                job_seconds=options.job_seconds,
                max_upload=options.max_upload,
                faults=read(options.faults) if options.faults else None,
            )
            serve(options.data, host=options.host, port=options.port, settings=settings)
        elif options.command == "reset":
            reset(options.data)
        else:
            from synapse_apply.emulator.table import page  # noqa: PLC0415 - serving needs it not

            sys.stdout.write(page())
    except (ServeError, DataSetError, UnknownSwitchError, FaultsError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
