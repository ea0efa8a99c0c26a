"""What a start would refuse of a configuration: its file alone, or also all that it names."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from synapse_apply.controller.configuration.checks import collect_findings
from synapse_apply.controller.configuration.reading import read_configuration
from synapse_apply.controller.extras import require_packages
from synapse_apply.controller.fleet.job_queue import build_store_without_connecting
from synapse_apply.controller.loop.following import targets_at_head
from synapse_apply.controller.loop.rollouts import rollouts_of_source
from synapse_apply.controller.oidc import check_provider
from synapse_apply.controller.rules.rollouts import assign_targets_to_waves
from synapse_apply.controller.run import ConfigurationReader, ControllerSetup
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.store_database import StoreMissing
from synapse_apply.model.diagnostic import Diagnostic


def check_configuration(
    file: Path, environ: Mapping[str, str] | None = None
) -> tuple[Diagnostic, ...]:
    """All that a start would refuse, and all warnings, of the file alone.

    With `environ` also what the secrets, the packages, the database of the store and the heads of
    the repositories have wrong. InputError if the file cannot be read at all.
    """
    reading = read_configuration(file)
    controller = reading.controller
    if controller is None or environ is None:
        return reading.findings
    findings = [*reading.findings]
    with collect_findings(findings):
        require_packages()
    if controller.access is not None and controller.access.oidc is not None:
        with collect_findings(findings):
            check_provider(controller.access.oidc)
    with TemporaryDirectory(prefix="synapse-apply-check-") as folder:
        setup = ControllerSetup(file, Path(folder), environ, io.StringIO())
        reader = ConfigurationReader(setup)
        with collect_findings(findings):
            reader.build_loop_parts(controller)
        with collect_findings(findings):
            reader.read_hook_secrets_by_forge(controller)
        with collect_findings(findings):
            url = reader.read_store_url_or_none(controller)
            store = build_store_without_connecting(setup.data, url).store
            with closing(store), suppress(StoreMissing):
                store.read_database_clock()
        for source in controller.sources.values():
            with collect_findings(findings):
                mirror = GitMirror(source, setup.data, reader.read_secret)
                commit = mirror.fetch_head().commit
                mirror.require_signed(commit, None)
                keyed = tuple(targets_at_head(source, mirror, commit))
                rollouts = rollouts_of_source(controller, source.name)
                findings += assign_targets_to_waves(rollouts, keyed).findings
    return tuple(findings)
