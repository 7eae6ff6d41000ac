"""``sentrio pipeline``: what it prints, where, and its exit codes."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

import sentrio as library
from sentrio.cli.sitesview import LiveView
from sentrio.errors import JobLogError
from sentrio.pipeline import PipelineConfig, SiteAttempt, SiteResult, SiteStatus
from sentrio.pipeline.joblog import JobLog

EXAMPLE = Path(__file__).parents[2] / "docs/examples/pipeline"

# Each site says how it ends: `ok`, or an exit code.
COMMAND = """\
pipeline:
  command: [sh, -c, 'echo "ran $1" >> ran; echo "hello $1"; case "$1" in ok*) ;; *) exit "$1";; esac', -, "{site}"]
  retry_count: 1
"""


@pytest.fixture
def ran(tmp_path: Path) -> Any:
    """The sites that ran since the last time it was asked."""

    def sites() -> list[str]:
        file = tmp_path / "ran"
        found = file.read_text().replace("ran ", "").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return sorted(found)

    return sites


def write(text: str) -> None:
    Path("sentrio.yaml").write_text(text)


TABLE = """\
      site   status    attempts   seconds
  ✓   ok     success          1       #
  ✗   3      failed           1       #   exit code 3

 3  | hello 3

FAILED  1 of 2 sites succeeded, 1 failed
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_table_is_on_standard_output_and_lines_are_on_the_other(sentrio: Any, backend: str) -> None:
    write(COMMAND)
    done = sentrio("pipeline", "--backend", backend, "ok", "3")
    assert done.code == 1
    assert re.sub(r"\d+\.\d", "#", done.out) == TABLE
    assert sorted(line.partition("] ")[2] for line in re.sub(r"\d+\.\d", "#", done.err).splitlines()) == [
        "3: failed, # s, exit code 3",
        "ok: success, # s",
    ]
    assert [line[:6] for line in done.err.splitlines()] == ["[1/2] ", "[2/2] "]
    done = sentrio("pipeline", "ok")
    assert (done.code, done.out.splitlines()[-1]) == (0, "SUCCESS  1 of 1 site succeeded")


def test_machine_formats_are_alone_on_standard_output(sentrio: Any) -> None:
    write(COMMAND)
    document = json.loads(sentrio("pipeline", "ok", "3", "--format", "json").out)
    assert (document["schema_version"], document["exit_code"]) == (1, 1)
    assert [SiteResult.from_dict(each).site for each in document["results"]] == ["ok", "3"]
    lines = sentrio("pipeline", "ok", "3", "--format", "ndjson").out.splitlines()
    assert {json.loads(line)["site"] for line in lines} == {"ok", "3"}
    done = sentrio("pipeline", "ok", "3", "--format", "junit")
    suite = ET.fromstring(done.out)[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["2", "1", "0", "0"]
    assert [case.get("name") for case in suite] == ["ok", "3"]
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "exit code 3"
    assert suite[1].findtext("system-out") == "hello 3"


def test_what_junit_makes_of_each_status() -> None:
    from sentrio.pipeline.formats import renderer

    results = [
        SiteResult(site="a\x1b\ud800", status=SiteStatus.TIMED_OUT, attempts=1, error="timed out after 3 s"),
        SiteResult(site="b", status=SiteStatus.CANCELLED, attempts=1, error="interrupted while it ran"),
        SiteResult(site="c", status=SiteStatus.CANCELLED, error="interrupted before it began"),
    ]
    suite = ET.fromstring(renderer("junit")(results, exit_code=130))[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "0", "2", "1"]
    assert [[child.tag for child in case] for case in suite] == [["error"], ["error"], ["skipped"]]
    json.loads(renderer("json")(results, exit_code=130).encode())


def test_output_files(sentrio: Any, tmp_path: Path) -> None:
    write(COMMAND)
    files = [each for name in ("out.json", "out.ndjson", "out.xml") for each in ("--output", name)]
    assert sentrio("pipeline", "ok", *files).code == 0
    assert json.loads((tmp_path / "out.json").read_text())["exit_code"] == 0
    assert json.loads((tmp_path / "out.ndjson").read_text())["site"] == "ok"
    assert ET.fromstring((tmp_path / "out.xml").read_text()).tag == "testsuites"
    assert sentrio("pipeline", "ok", "--output", "out.html").code == 2


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (COMMAND, ["--format", "github"], "--format must be one of table, json, ndjson, junit, got 'github'"),
        (COMMAND, [], "no sites are given: name them, as in `sentrio pipeline shop.example`, or under `sites`"),
        (COMMAND, ["ok", "--halt", "soon"], "halt must be 'never', 'soon,fail=N' or 'now,fail=N'"),
        (COMMAND, ["ok", "--resume"], "--resume needs a job log: `job_log` under `pipeline`, or --job-log FILE"),
        (COMMAND, ["--retry-failed"], "--retry-failed needs a job log"),
        (COMMAND, ["ok", "--resume", "--retry-failed", "--job-log", "jobs"], "--resume and --retry-failed exclude each other"),
        (COMMAND, ["ok", "--backend", "uvloop"], "--backend must be asyncio or trio, got 'uvloop'"),
        (COMMAND, ["ok", "--job-log", "/dev/null/jobs"], "job log /dev/null/jobs: it can not be written"),
        (f"{COMMAND}  timeot: 3\n", ["ok"], "sentrio.yaml:4:3  pipeline: unknown option 'timeot'; did you mean 'timeout'?"),
        (f"{COMMAND}  sites: [ok, 3]\n", [], "sentrio.yaml:4:3  pipeline: sites must be a list of texts, got ('ok', 3)"),
        (f"{COMMAND}  checkpoint: oders\n", ["ok"], "sentrio.yaml:4:15  pipeline.checkpoint: unknown checkpoint 'oders'"),
        ("checkpoints: {a: {data_source: a.csv, validators: [not_null]}}", ["ok"], "sentrio.yaml  there is no `pipeline`"),
        ("pipeline: {}", ["ok"], "sentrio.yaml:1:1  pipeline: command is missing: what to run for each site"),
        ("pipeline:", ["ok"], "sentrio.yaml:1:1  pipeline: must be a mapping, got nothing"),
        ("pipline: {}", ["ok"], "unknown key 'pipline'; did you mean 'pipeline'?"),
    ],
)  # fmt: skip
def test_bad_usage_and_configuration(sentrio: Any, text: str, arguments: list[str], message: str, ran: Any) -> None:
    write(text)
    done = sentrio("pipeline", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert ran() == []


def test_sites_of_the_file_and_of_the_command_line(sentrio: Any, ran: Any) -> None:
    write(f"{COMMAND}  sites: [ok, ok 2]\n")
    assert sentrio("pipeline").code == 0
    assert ran() == ["ok", "ok 2"]
    assert sentrio("pipeline", "ok 3").code == 0
    assert ran() == ["ok 3"]
    done = sentrio("pipeline", "ok", "ok")
    assert done.err.splitlines()[0] == "WARNING sentrio.pipeline: listed more than once, run once: ok"
    assert "1 of 1 site succeeded" in done.out


def test_names_that_could_do_harm(sentrio: Any) -> None:
    write("pipeline: {command: [printf, '%s', 'x{site}'], retry_count: 1}")
    sites = ["$(touch owned)", "two\nlines", "\x1b[31mred", "--help", "-n", "🙂" * 3_000]
    done = sentrio("pipeline", "--format", "json", "--", *sites)
    assert [each["output_tail"].splitlines()[0] for each in json.loads(done.out)["results"]] == [
        f"x{site}".splitlines()[0] for site in sites[:-1]
    ] + ["x" + "🙂" * 3_000]
    assert not Path("owned").exists()
    done = sentrio("pipeline", "--", *sites)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert max(map(len, (done.out + done.err).splitlines())) < 200


def test_from_the_folder_of_the_file_wherever_one_stands(
    sentrio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.sentrio.pipeline]\ncommand = ["sh", "-c", "pwd"]\nsites = ["a"]\n'
    )
    (tmp_path / "below/there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below/there")
    done = sentrio("pipeline", "--format", "json", "--job-log", "jobs")
    assert json.loads(done.out)["results"][0]["output_tail"] == str(tmp_path.resolve())
    assert (tmp_path / "below/there/jobs").exists()  # what the command line names is relative to where one stands


def test_resume_retry_failed_and_halt(sentrio: Any, ran: Any) -> None:
    write(f"{COMMAND}  job_log: jobs\n  max_concurrent_sites: 1\n")
    done = sentrio("pipeline", "ok", "3", "4", "ok 2", "--halt", "soon,fail=1")
    assert done.code == 1
    assert ran() == ["3", "ok"]
    assert "1 of 4 sites succeeded, 1 failed, 2 cancelled" in done.out
    assert "halted the run" not in done.err  # not a line for each site that nothing happened to

    done = sentrio("pipeline", "ok", "3", "4", "ok 2", "--resume")
    assert ran() == ["4", "ok 2"]
    assert (done.code, len(done.err.splitlines())) == (1, 2)
    assert "2 of 4 sites succeeded, 2 failed" in done.out

    done = sentrio("pipeline", "--retry-failed", "--format", "json")
    assert ran() == ["3", "4"]
    assert [each["site"] for each in json.loads(done.out)["results"]] == ["3", "4"]

    assert sentrio("pipeline", "3", "--retry-failed", "--job-log", "other").code == 1
    assert ran() == ["3"]
    assert sentrio("pipeline", "ok", "--job-log", "other").code == 0
    done = sentrio("pipeline", "--retry-failed", "--job-log", "other")
    assert (done.code, done.out) == (0, "SUCCESS  0 of 0 sites succeeded\n")


def test_halt_wins_over_error_aggregation(sentrio: Any, ran: Any) -> None:
    write(f"{COMMAND}  error_aggregation: false\n  max_concurrent_sites: 1\n")
    assert sentrio("pipeline", "3", "ok").code == 1
    assert ran() == ["3"]
    assert sentrio("pipeline", "3", "ok", "--halt", "never").code == 1
    assert ran() == ["3", "ok"]


def test_failed_sites_are_in_the_log_only_where_the_log_is_asked_for(sentrio: Any) -> None:
    write(COMMAND)
    assert "WARNING" not in sentrio("pipeline", "3").err
    assert "WARNING sentrio.pipeline: 3: exit code 3" in sentrio("pipeline", "3", "-v").err
    done = sentrio("pipeline", "3", "--log-format", "json")
    assert [json.loads(line)["level"] for line in done.err.splitlines() if line[0] == "{"] == ["warning"]
    assert logging.getLogger("sentrio.pipeline").filters == []


def test_a_disk_that_is_full_in_the_middle_is_undecided(sentrio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = JobLog._append

    def full(self: JobLog, lines: bytes) -> None:
        if b'"4"' in lines:
            raise JobLogError("jobs", "it can not be written: No space left on device")
        real(self, lines)

    monkeypatch.setattr(JobLog, "_append", full)
    write(f"{COMMAND}  job_log: jobs\n  max_concurrent_sites: 1\n")
    done = sentrio("pipeline", "ok", "4", "5", "--format", "json")
    assert done.code == 3
    assert f"job log {Path('jobs').resolve()}: it can not be written: No space left on device" in done.err
    results = json.loads(done.out)["results"]
    assert results[0]["status"] in {"success", "cancelled"}  # on a busy machine both lines go together
    assert [each["status"] for each in results[1:]] == ["cancelled", "cancelled"]
    assert results[1]["error"].startswith("the job log could not be written")


CHECKED = """\
checkpoints:
  orders:
    data_source: "{site}.csv"
    validators: [{range: {column: amount, min: 0}}]
    actions: []
pipeline:
  command: [sh, -c, 'test "$1" = none || printf "amount\\n$1\\n" > "$1.csv"', -, "{site}"]
  checkpoint: orders
  retry_count: 1
"""


@pytest.mark.parametrize(
    ("sites", "code", "status"),
    [
        (["1", "2"], 0, ["success", "success"]),
        (["1", "-2"], 1, ["success", "failed"]),
        (["none", "-2"], 3, ["failed", "failed"]),
        (["1", "../2"], 1, ["success", "failed"]),
    ],
)
def test_fetch_then_validate(sentrio: Any, sites: list[str], code: int, status: list[str]) -> None:
    write(CHECKED)
    done = sentrio("pipeline", "--format", "json", "--", *sites)
    document = json.loads(done.out)
    assert (done.code, document["exit_code"]) == (code, code)
    assert [each["status"] for each in document["results"]] == status


def test_a_failed_action_is_4(sentrio: Any) -> None:
    write(CHECKED.replace("actions: []", "actions: [{store: {path: /dev/null/x}}]"))
    assert sentrio("pipeline", "1").code == 4
    assert sentrio("pipeline", "--", "-1").code == 1


def test_the_other_subcommands_know_of_it(sentrio: Any) -> None:
    write(CHECKED)
    assert sentrio("validate").out.endswith("sentrio.yaml: 1 checkpoint and a pipeline, no problem found\n")
    for names in ([], ["orders"]):
        done = sentrio("run", *names)
        assert (done.code, done.out) == (2, "")
        assert "checkpoint 'orders' has data for each site; `sentrio pipeline` runs it" in done.err
    Path("other.csv").write_text("amount\n3\n")
    write(CHECKED.replace("pipeline:", "  other: {data_source: other.csv, validators: [not_null]}\npipeline:"))
    done = sentrio("run")
    assert done.code == 0
    assert "`sentrio pipeline` runs it, and it is left out here" in done.err
    write(COMMAND)
    assert sentrio("validate").code == 0
    done = sentrio("run")
    assert done.code == 2
    assert done.err.endswith("sentrio.yaml  there are no `checkpoints`\n")


def test_load_config_has_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "sentrio.yaml").write_text(CHECKED)
    config = library.load_config(tmp_path / "sentrio.yaml")
    assert config.pipeline is not None
    assert config.pipeline.checkpoint is config.checkpoints["orders"]
    assert config.pipeline.cwd == tmp_path
    from sentrio.pipeline import UniversalRunner

    assert UniversalRunner(config.pipeline).run_pipeline(["1", "-1"]) == {"1": True, "-1": False}
    with pytest.raises(library.SentrioError, match=r":8:3  pipeline.checkpoint: .* use UniversalRunner\(load_config"):
        UniversalRunner(tmp_path / "sentrio.yaml")


def test_faults_of_checkpoints_and_pipeline_are_told_together(tmp_path: Path) -> None:
    text = CHECKED.replace("min: 0", "mni: 0").replace("retry_count: 1", "retry_count: 0")
    (tmp_path / "sentrio.yaml").write_text(text.replace("'{site}.csv'", "x"))
    with pytest.raises(library.SentrioError) as caught:
        library.load_config(tmp_path / "sentrio.yaml")
    found = caught.value.problems  # type: ignore[attr-defined]
    assert [each.path for each in found] == ["checkpoints.orders.validators[0].range", "pipeline"]
    assert "retry_count" in found[1].message
    (tmp_path / "sentrio.yaml").write_text(CHECKED.replace('"{site}.csv"', "orders.csv"))
    with pytest.raises(
        library.SentrioError, match="8:3  pipeline: the data_source of checkpoint 'orders' has no {site}"
    ):
        library.load_config(tmp_path / "sentrio.yaml")


def test_the_example(sentrio: Any, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "pipeline", ignore=shutil.ignore_patterns("fetched"))
    shutil.copytree(EXAMPLE.parent / "quickstart", tmp_path / "quickstart", ignore=shutil.ignore_patterns("results"))
    config = tmp_path / "pipeline/sentrio.yaml"
    done = sentrio("pipeline", "--config", config, "--format", "json")
    assert done.code == 1
    results = [SiteResult.from_dict(each) for each in json.loads(done.out)["results"]]
    assert [(each.site, str(each.status)) for each in results] == [
        ("Torgersen", "success"), ("Biscoe", "failed"), ("Dream", "success"),
    ]  # fmt: skip
    assert "penguins[Biscoe]: failure, 2 of 3 checks passed; in_set sex 1 of 164 (168 rows" in str(results[1].error)
    # What a friendly hand mended is seen at once.
    program = tmp_path / "pipeline/fetch.py"
    program.write_text(program.read_text().replace("bird[1] == island", 'bird[1] == island and bird[6] != "."'))
    done = sentrio("pipeline", "--config", config, "--retry-failed")
    assert (done.code, done.out.splitlines()[-1]) == (0, "SUCCESS  1 of 1 site succeeded")


def test_the_live_table_fits_and_says_what_happens() -> None:
    view = LiveView(100, PipelineConfig(command=["true"]))
    for number in range(50):
        view.attempt(SiteAttempt(site=f"site {number}", attempt=1))
    view.attempt(SiteAttempt(site="site 0", attempt=1, error="exit \x1b[31m 1", wait_seconds=8.0))
    for number in range(1, 9):
        failed = SiteResult(site=f"site {number}", status=SiteStatus.FAILED, attempts=1, error="e" * 500)
        view.done(number, 100, failed, is_old=False)
    console = Console(width=80, height=24, file=io.StringIO())
    with console.capture() as captured:
        console.print(view.table(console.height))
    lines = captured.get().splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split()[:3] == ["site", "4", "failed"]
    assert any(line.startswith("and 2") and "more" in line for line in lines)
    assert lines[-1].startswith("8 of 100 sites done, 8 failed, 41 running, 1 waiting")
    view = LiveView(1, PipelineConfig(command=["true"]))
    view.attempt(SiteAttempt(site="a", attempt=1, error="exit \x1b[31m 1", wait_seconds=8.0))
    with console.capture() as captured:
        console.print(view.table(console.height))
    assert re.match(r"a +after attempt 1 +in [78] s +exit \\x1b\[31m 1", captured.get())
