"""The commits of the demo are what its story says: one that is fine, a broken one, one that mends."""

from in_process import run

from synapse_apply.controller.configuration.reading import parse_and_check_configuration
from synapse_apply.controller.demo import demo_files
from synapse_apply.controller.demo.demo import DemoRepository


def test_the_second_commit_is_broken_and_the_third_mends_it(tmp_path):
    """On every target: the finding names the field and what was meant."""
    repository = DemoRepository(tmp_path / "repository")
    urls = dict.fromkeys(demo_files.TARGETS, "http://127.0.0.1:9")
    repository.write_and_commit_all(
        demo_files.build_texts_of_first_commit(urls, tmp_path / "states"), "First"
    )
    run("validate --strict", repository.folder, {})
    run("validate --strict", repository.folder / "lab", {})
    repository.write_and_commit_all(demo_files.build_texts_of_broken_commit(), "Broken")
    broken = run("validate", repository.folder, {}, 1)
    assert "`category`" in broken.stderr
    repository.write_and_commit_all(demo_files.build_texts_of_mending_commit(), "Mending")
    run("validate --strict", repository.folder, {})


def test_its_controller_file_has_no_finding(tmp_path):
    text = demo_files.format_controller_file(
        tmp_path / "repository",
        tmp_path / "states",
        ["127.0.0.1:9", "127.0.0.1:10"],
        8081,
        "http://127.0.0.1:8080",
    )
    reading = parse_and_check_configuration(text, tmp_path / "controller.yaml")
    assert reading.findings == ()
    assert reading.controller is not None
    assert reading.controller.sources["acme"].hosts == ("127.0.0.1:9", "127.0.0.1:10")
