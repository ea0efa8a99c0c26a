"""Both worked examples of the API page run as they stand there.

The copies under page/ are re-indented. Supplied are the import lines, the URL, the token, the
package's path, and the names the second example leaves free (client, time).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from synapse_apply import BackendClient, ClientError

PAGE = Path(__file__).parent / "page"
TOKEN = "contract-token"


def example(name: str, supplied: dict[str, str], **free: Any) -> dict[str, Any]:
    """The names an example defines; every supplied text stands in it and takes another's place."""
    text = (PAGE / f"{name}.txt").read_text("utf-8")
    for theirs, ours in supplied.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    names: dict[str, Any] = {"__name__": name, "time": quick_time(), **free}
    exec(compile(text, name, "exec"), names)  # the page's own code
    return names


def quick_time() -> SimpleNamespace:
    """`time` whose seconds are hundredths."""
    return SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100))


def workflow(url: str, package: Path) -> Callable[[], tuple[int, int]]:
    names = example(
        "complete_workflow",
        {
            "from synapse_sdk.clients.backend import": "from synapse_apply.client import",
            "import time\n": "",
            "https://api.synapse.sh": url,
            "your-token": TOKEN,
            "/path/to/plugin.zip": str(package),
        },
    )
    found: Callable[[], tuple[int, int]] = names["complete_plugin_workflow"]
    return found


def test_complete_workflow(backend_url, client, package, capsys):
    """Plugin, release, run, progress and result, against the embedded backend."""
    plugin_id, job_id = workflow(backend_url, package)()
    printed = capsys.readouterr().out
    assert f"Created plugin: {plugin_id}\nCreated release: " in printed
    assert f"Job {job_id}: completed (100%)\nJob completed successfully!" in printed
    assert client.get_plugin(plugin_id)["name"] == "Image Processing Plugin"
    assert client.get_job(job_id)["status"] == "completed"


def test_complete_workflow_of_a_job_that_fails(backend_url, package, steer, capsys):
    """The logs of a failed job are printed as the page does it."""
    steer("POST", "_emulator/jobs/fail-next/", {"count": 1})
    _, job_id = workflow(backend_url, package)()
    printed = capsys.readouterr().out
    assert f"Job {job_id}: failed" in printed
    assert "Job failed. Recent logs:" in printed
    assert ": failed on request" in printed


def robust(client: object) -> Callable[..., Any]:
    supplied = {"from synapse_sdk.clients.exceptions import": "from synapse_apply.client import"}
    found: Callable[..., Any] = example("error_handling", supplied, client=client)[
        "robust_plugin_execution"
    ]
    return found


def test_robust_execution(client, capsys):
    """A run that goes well is answered at once."""
    plugin = client.create_plugin({"name": "robust"})
    assert robust(client)(plugin["id"], {"a": 1})["job_id"]
    assert capsys.readouterr().out == ""


def test_robust_execution_of_no_plugin(client, capsys):
    """404 ends it."""
    assert robust(client)(999_999, {}) is None
    assert capsys.readouterr().out == "Plugin 999999 not found\n"


def test_robust_execution_with_bad_parameters(client, capsys):
    """400 ends it, and `response` is what the server says about the fields."""
    plugin = client.create_plugin({"name": "robust"})
    assert robust(client)(plugin["id"], "not a map") is None
    printed = capsys.readouterr().out
    assert printed.startswith("Invalid parameters: {'parameters': ")


def test_robust_execution_of_a_failing_server(capsys):
    """A server error is tried three times; here the answers are scripted errors."""

    class Failing(BackendClient):
        calls = 0

        def run_plugin(self, *_arguments: Any, **_options: Any) -> dict[str, Any]:
            self.calls += 1
            raise ClientError("POST plugins/1/run/: 500", status_code=500)

    failing = Failing("http://127.0.0.1:9")
    assert robust(failing)(1, {}) is None
    assert failing.calls == 3
    assert "Server error (attempt 3): POST plugins/1/run/: 500" in capsys.readouterr().out


def test_robust_execution_without_a_server(capsys):
    """`status_code >= 500` is a comparison of integers even when nothing answered."""
    with BackendClient("http://127.0.0.1:9", retries=0) as client:
        assert robust(client)(1, {}) is None
    assert capsys.readouterr().out.startswith("Unexpected error: POST plugins/1/run/: connection")
