"""Which endpoints make up each API version of the embedded backend: its methods and paths."""

from __future__ import annotations

from synapse_apply.emulator import admin, agents, jobs, plugins, releases, storages
from synapse_apply.emulator.core.call import ApiVersion, Endpoint, read

_PACKAGE = "media/plugin_releases/{id}/package.zip"
_LISTED = ("plugin_list", "list")
_SIGNED = ("release_file", "signed")
_WRITES = ("v2_writes", "all")

# What each is for, and how sure that is, stands in page.md.
V1 = ApiVersion(
    "v1",
    "/",
    (
        Endpoint("GET", "plugins/", plugins.list_plugins, switch=_LISTED),
        Endpoint("POST", "plugins/", plugins.create_plugin, 201),
        Endpoint("GET", "plugins/{lookup}/", read(plugins.require_in_path, plugins.show)),
        Endpoint("PUT", "plugins/{lookup}/", plugins.update_plugin),
        Endpoint("GET", "plugin_releases/", releases.list_releases),
        Endpoint("POST", "plugin_releases/", releases.create_release, 201),
        Endpoint("GET", "plugin_releases/{lookup}/", read(releases.require_in_path, releases.show)),
        Endpoint("GET", _PACKAGE, releases.send_package, switch=_SIGNED, is_open=True),
        Endpoint("GET", "storages/", storages.list_storages),
        Endpoint("POST", "storages/", storages.create_storage, 201),
        Endpoint("GET", "storages/{id}/", read(storages.require_in_path, storages.show)),
        Endpoint("POST", "storages/{id}/session/", storages.open_session),
        Endpoint("POST", "plugins/{lookup}/run/", jobs.run_plugin),
        Endpoint("GET", "jobs/", jobs.list_jobs),
        Endpoint("GET", "jobs/{id}/", read(jobs.require_in_path, jobs.show)),
        Endpoint("PATCH", "jobs/{id}/", jobs.report_on_job),
        Endpoint("GET", "jobs/{id}/console_logs/", jobs.list_console_logs),
        Endpoint("GET", "jobs/{id}/tail_console_logs/", jobs.tail_console_logs),
        Endpoint("GET", "agents/", agents.list_agents),
        Endpoint("POST", "agents/{token}/connect/", agents.check_agent_health),
    ),
)
V2 = ApiVersion(
    "v2",
    "/v2/",
    (
        Endpoint("GET", "plugins/", plugins.list_plugins_v2),
        Endpoint("POST", "plugins/", plugins.create_plugin_v2, 201, _WRITES),
        Endpoint("GET", "plugins/{id}/", read(plugins.require_in_path_v2, plugins.show_v2)),
        Endpoint("PATCH", "plugins/{id}/", plugins.update_plugin_v2, 200, _WRITES),
        Endpoint("GET", "plugin-releases/", releases.list_releases_v2),
        Endpoint("POST", "plugin-releases/", releases.create_release_v2, 201, _WRITES),
        Endpoint(
            "GET", "plugin-releases/{id}/", read(releases.require_in_path_v2, releases.show_v2)
        ),
        Endpoint("DELETE", "plugin-releases/{id}/", releases.delete_release, 204, _WRITES),
        Endpoint(
            "POST",
            "plugin-releases/{id}/release/",
            releases.lock_release,
            switch=_WRITES,
            dry_run_action="release",
        ),
        Endpoint("GET", "jobs/", jobs.list_jobs_v2),
        Endpoint("GET", "jobs/{id}/", read(jobs.require_in_path_v2, jobs.show_v2)),
        Endpoint("PATCH", "jobs/{id}/", jobs.report_on_job_v2, 200, _WRITES),
        Endpoint("POST", "jobs/{id}/logs/", jobs.create_log, 201, _WRITES),
        Endpoint("POST", "jobs/{id}/logs/bulk/", jobs.create_logs, 201, _WRITES),
        Endpoint("POST", "jobs/{id}/stop/", jobs.stop_job, 200, _WRITES),
        Endpoint("GET", "jobs/{id}/console_logs/", jobs.list_console_logs_v2),
        Endpoint("GET", "jobs/{id}/tail_console_logs/", jobs.tail_console_logs_v2),
    ),
    is_v2=True,
)
# For tests and tools; no real backend has them.
OWN = ApiVersion(
    "own",
    "/_emulator/",
    (
        Endpoint("GET", "health/", admin.read_health, is_open=True),
        Endpoint("GET", "state/", admin.read_data_set_state),
        Endpoint("GET", "switches/", admin.list_switches),
        Endpoint("PATCH", "switches/", admin.change_switches),
        Endpoint("GET", "clock/", admin.read_clock),
        Endpoint("PATCH", "clock/", admin.set_clock_offset),
        Endpoint("GET", "faults/", admin.list_faults),
        Endpoint("PUT", "faults/", admin.replace_fault_rules),
        Endpoint("GET", "requests/", admin.list_requests),
        Endpoint("DELETE", "requests/", admin.clear_request_log, 204),
        Endpoint("POST", "jobs/fail-next/", admin.fail_next_jobs),
        Endpoint("GET", "packages/{id}/", admin.send_any_package),
        Endpoint("GET", "objects/{kind}/", admin.list_all_objects),
        Endpoint("POST", "objects/{kind}/", admin.create_object_unchecked, 201),
        Endpoint("DELETE", "objects/{kind}/", admin.delete_all_objects, 204),
        Endpoint("GET", "objects/{kind}/{id}/", read(admin.require_object, admin.show_object)),
        Endpoint("PATCH", "objects/{kind}/{id}/", admin.edit_object_unchecked),
        Endpoint("DELETE", "objects/{kind}/{id}/", admin.delete_any_object, 204),
    ),
    is_logged=False,
    slash_is_optional=True,
)
VERSIONS = (V1, V2, OWN)
