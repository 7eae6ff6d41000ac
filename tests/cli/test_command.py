from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import polars as pl
import pytest

import sentrio as library
from sentrio.checkpoint.formats.json import schema

QUICKSTART = Path(__file__).parents[2] / "docs/examples/quickstart"
PENGUINS = QUICKSTART / "penguins_size.csv"

TABLE = """\
penguins   penguins_size.csv   344 rows   # s

      check       column             failed    of   observed          expected
  ✓   row_count   (table)                 -     -   344               at least 300
  ✓   not_null    species_short           0   344                     no nulls
  ✓   not_null    sex                    10   344   97.1 % not null   at least 95 %
  ✓   in_set      species_short           0   344                     Adelie, Chinstrap, Gentoo
  ✓   range       culmen_length_mm        0   342   32.1 to 59.6      30 to 60
  ✓   mean        flipper_length_mm       -     -   200.915           190 to 210
  !   not_null    body_mass_g             2   344   99.4 % not null   no nulls                    low
  !   in_set      sex                     1   334                     FEMALE, MALE                medium

 not_null  body_mass_g   row 3     Adelie  Torgersen   body_mass_g = null
                         row 339   Gentoo  Biscoe      body_mass_g = null
 in_set    sex           row 336   Gentoo  Biscoe      sex = "."

WARNING  6 passed, 2 failed below fail_on=high   saved results/#/penguins-#.json
"""


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """A copy, since a run leaves its result beside the configuration."""
    shutil.copytree(QUICKSTART, tmp_path / "quickstart", ignore=shutil.ignore_patterns("results"))
    return tmp_path / "quickstart" / "sentrio.yaml"


def masked(text: str) -> str:
    text = re.sub(r"\d+\.\d\d s\n", "# s\n", text)
    return re.sub(r"results/\d{4}-\d\d-\d\d/penguins-[0-9a-f]{6}", "results/#/penguins-#", text)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_quick_start_prints_the_table_of_the_readme(sentrio: Any, quickstart: Path, backend: str) -> None:
    done = sentrio("run", "--config", quickstart, "--backend", backend)
    assert (done.code, done.err) == (0, "")
    assert masked(done.out) == TABLE
    stored = library.load_results(quickstart.parent / "results")
    assert [result.status for result in stored] == ["warning"]
    assert stored[0].run_time.utcoffset() == dt.timedelta(0)


def test_ci_fails_on_a_warning_if_told_so(sentrio: Any, quickstart: Path) -> None:
    assert sentrio("--config", quickstart, "run").code == 0
    assert sentrio("run", "-c", quickstart, "--fail-on", "medium").code == 1
    assert sentrio("run", "-c", quickstart, "--fail-on", "never").code == 0
    assert sentrio("run", "-c", quickstart, "--fail-on", "hihg").code == 2


def test_json_is_one_document_that_follows_its_schema(sentrio: Any, quickstart: Path) -> None:
    done = sentrio("run", "--config", quickstart, "--format", "json", "--fail-on", "medium")
    document = json.loads(done.out)
    jsonschema.validate(document, schema())
    assert list(document)[:2] == ["schema_version", "exit_code"]
    assert (document["exit_code"], done.code) == (1, 1)
    result = library.CheckpointResult.from_dict(document["results"][0])
    assert result.to_dict() == document["results"][0]
    assert result.report.failed[1].sample[0].row == 336


def test_output_files(sentrio: Any, quickstart: Path, tmp_path: Path) -> None:
    names = ["out.json", "out.ndjson", "out.xml", "out.html", "out.md"]
    options = [each for name in names for each in ("--output", tmp_path / name)]
    done = sentrio("run", "--config", quickstart, "--format", "github", *options)
    assert done.code == 0
    assert done.out.startswith("::warning title=penguins%3A not_null body_mass_g::2 of 344 rows failed (expected")
    jsonschema.validate(json.loads((tmp_path / "out.json").read_text()), schema())
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 1
    suite = ET.fromstring((tmp_path / "out.xml").read_text()).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "8",
        "0",
        "0",
        "2",
    )
    assert "<title>warning: penguins</title>" in (tmp_path / "out.html").read_text()
    assert "| ! | in\\_set | sex | 1 | 334 |" in (tmp_path / "out.md").read_text()


def test_output_that_can_not_be_written(sentrio: Any, quickstart: Path, tmp_path: Path) -> None:
    done = sentrio("run", "--config", quickstart, "--output", tmp_path / "out.txt")
    assert (done.code, done.out) == (2, "")
    assert "names no format; known are .json" in done.err
    assert sentrio("run", "--config", quickstart, "--output", tmp_path / "no" / "out.json").code == 2
    assert sentrio("run", "--config", quickstart, "--format", "yaml").code == 2


def test_check_needs_no_configuration(sentrio: Any) -> None:
    done = sentrio(
        "check",
        PENGUINS,
        "-V",
        "null",
        "-V",
        "range: {column: body_mass_g, min: 3000}",
        "--source",
        "null_values: [NA]",
    )
    assert done.code == 1
    assert "✗   range      body_mass_g" in done.out
    assert "FAILURE" in done.out


def test_list_and_tags(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "sentrio.yaml").write_text(
        "checkpoints:\n"
        "  a: {data_source: a.csv, validators: [not_null], tags: [nightly]}\n"
        "  b: {data_source: b.csv, validators: [not_null, unique]}\n"
    )
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\n1\n1\n")
    assert (
        sentrio("list").out
        == "a   a.csv   1 validator    0 actions   nightly\nb   b.csv   2 validators   0 actions\n"
    )
    assert sentrio("list", "--tag", "nightly").out.startswith("a ")
    assert sentrio("run", "--tag", "nightly").code == 0
    done = sentrio("run")
    assert done.code == 1
    assert done.out.index("SUCCESS") < done.out.index("FAILURE")
    out = sentrio("run", "b", "a").out
    assert out.index("FAILURE") < out.index("SUCCESS")
    done = sentrio("run", "--tag", "nihgtly")
    assert (done.code, done.err) == (2, "sentrio: no checkpoint has the tag nihgtly; known tags are: nightly\n")
    done = sentrio("run", "c")
    assert done.code == 2
    assert done.err == "unknown checkpoint 'c'; known are: a, b\n"


def test_search_upwards_and_pyproject(sentrio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "x" / "y"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    done = sentrio("run")
    assert done.code == 2
    assert "there is no sentrio.yaml" in done.err
    (tmp_path / "pyproject.toml").write_text(
        '[tool.sentrio.checkpoints.a]\ndata_source = "a.csv"\nvalidators = ["not_null", {range = {min = 0}}]\n'
    )
    (tmp_path / "a.csv").write_text("x\n1\n")
    assert sentrio("run").code == 0
    (tmp_path / "pyproject.toml").write_text("[tool.sentrio.checkpoints.a]\ndata_sorce = 'a.csv'\n")
    assert "checkpoints.a: unknown key 'data_sorce'; did you mean 'data_source'?" in sentrio("validate").err


def test_init_never_overwrites(sentrio: Any, tmp_path: Path) -> None:
    assert sentrio("init").code == 0
    first = (tmp_path / "sentrio.yaml").read_text()
    assert sentrio("validate").code == 0
    assert sentrio("init", PENGUINS).code == 2
    assert (tmp_path / "sentrio.yaml").read_text() == first
    assert sentrio("init", PENGUINS, "--force").code == 0
    assert sentrio("run").code == 0
    assert sentrio("init", "nope.csv", "--force").code == 3


def test_version_and_help(sentrio: Any) -> None:
    assert re.fullmatch(r"sentrio \d+\.\d+\.\d+\n", sentrio("--version").out)
    done = sentrio("--help")
    assert done.code == 0
    for name in ("run", "check", "validate", "list", "init"):
        assert f" {name} " in done.out
    assert sentrio("chek").code == 2


def write(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def truncated_parquet(folder: Path) -> Path:
    path = folder / "t.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def folder_without_files(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


LONG = "a,b\n" + "1,2\n" * 50_000

BAD_DATA: list[tuple[str, Any, int, str]] = [
    ("missing", lambda folder: folder / "no.csv", 3, "there is no such file"),
    ("garbage", write("g.csv", os.urandom(5000) + b"\0"), 3, "zero bytes"),
    ("not UTF-8", write("u.csv", b"a,b\n1,\xff\n"), 3, "not utf-8 text; give `encoding`"),
    ("too few fields", write("r.csv", LONG + "1\n" + "3,4\n"), 3, "line 50002 has 1 field where 2 are expected"),
    ("too many fields", write("r.csv", LONG + "1,2,3\n"), 3, "line 50002 has 3 fields where 2 are expected"),
    ("too few after a break", write("r.csv", 'a,b\n"x\ny",1\n2\n'), 3, "line 4 has 1 field where 2 are expected"),
    ("a blank line", write("r.csv", "a,b\n1,2\n\n3,4\n"), 3, "line 3 is empty where 2 fields are expected"),
    ("open quote", write("q.csv", 'a,b\n1,"x\n2,y\n'), 3, ""),
    ("bad value far down", write("b.csv", LONG + "x,2\n"), 1, "type      a   row 50000   a = "),
    ("empty file", write("e.csv", ""), 3, "the file is empty"),
    ("header only", write("h.csv", "a,b\n"), 0, "SUCCESS"),
    ("column twice", write("d.csv", "a,a\n1,2\n"), 3, "columns 1 and 2 have the same name"),
    ("truncated Parquet", truncated_parquet, 3, "not a readable Parquet file"),
    ("no Parquet at all", write("n.parquet", "a,b\n1,2\n"), 3, "not a readable Parquet file"),
    ("unknown extension", write("x.dat", "a\n1\n"), 2, "'.dat' of"),
    ("empty folder", folder_without_files, 3, "the folder holds no files named"),
    ("pattern without files", lambda folder: folder / "*.csv", 3, "no file matches this pattern"),
    ("folder named like a file", lambda folder: (folder / "f.csv").mkdir() or folder / "f.csv", 3, "holds no files"),
]


@pytest.mark.parametrize(("make", "code", "text"), [row[1:] for row in BAD_DATA], ids=[row[0] for row in BAD_DATA])
def test_bad_data(sentrio: Any, tmp_path: Path, make: Any, code: int, text: str) -> None:
    rules = ["-V", "not_null", "-V", "range: {column: a, min: 0}"]
    done = sentrio("check", make(tmp_path), *rules)
    assert done.code == code, done
    assert text in done.out + done.err
    assert "Traceback" not in done.out + done.err


def test_unreadable_file(sentrio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("p.csv", "a\n1\n")(tmp_path)
    real = Path.open

    def refuse(self: Path, *args: Any, **options: Any) -> Any:
        if self.name == "p.csv":  # root may read everything, so permissions alone would prove nothing
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    done = sentrio("check", path)
    assert done.code == 3
    assert "no permission to read it" in done.out


def test_unknown_column_validator_and_option(sentrio: Any) -> None:
    done = sentrio("check", PENGUINS, "-V", "not_null: {column: sexx}")
    assert done.code == 3
    assert "no column 'sexx'; did you mean 'sex'?" in done.out
    done = sentrio("check", PENGUINS, "-V", "not_nul")
    assert (done.code, done.err) == (2, "unknown validator 'not_nul'; did you mean 'not_null'?\n")
    done = sentrio("check", PENGUINS, "-V", "not_null: {colum: sex}")
    assert (done.code, done.err) == (2, "not_null: unknown option 'colum'; did you mean 'column'?\n")
    done = sentrio("check", PENGUINS, "--source", "null_value: [NA]")
    assert done.code == 2
    assert "did you mean 'null_values'?" in done.err


@pytest.mark.parametrize("target", ["/proc/no", "{tmp}/file/results"])
def test_store_that_can_not_be_written_is_exit_4(sentrio: Any, tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "a.csv").write_text("x\n1\n")
    path = target.format(tmp=tmp_path)
    (tmp_path / "sentrio.yaml").write_text(
        f"checkpoints: {{a: {{data_source: a.csv, validators: [not_null], actions: [store: {{path: {path}}}]}}}}\n"
    )
    done = sentrio("run")
    assert done.code == 4
    assert "SUCCESS  1 passed" in done.out
    assert "action store   error:" in done.out


def test_several_exit_codes(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n\n")
    entries = {
        "failing": "{data_source: a.csv, validators: [not_null]}",
        "missing": "{data_source: b.csv, validators: [not_null]}",
    }
    (tmp_path / "sentrio.yaml").write_text("checkpoints:\n" + "".join(f"  {k}: {v}\n" for k, v in entries.items()))
    assert sentrio("run", "failing").code == 1
    assert sentrio("run", "missing").code == 3
    assert sentrio("run").code == 3


def test_values_can_not_change_the_terminal(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "evil.csv").write_text('a\n"\x1b[2J\x1b]0;owned\x07"\n"::error::x"\n')
    done = sentrio("check", tmp_path / "evil.csv", "-V", "in_set: {column: a, values: [b]}")
    assert done.code == 1
    assert "\x1b" not in done.out
    assert "\\u001b[2J" in done.out
    done = sentrio("check", tmp_path / "evil.csv", "-V", "in_set: {column: a, values: [b]}", "--format", "github")
    assert sum(line.startswith("::") for line in done.out.splitlines()) == 1


def test_compressed_csv_and_other_encodings(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "z.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert sentrio("check", tmp_path / "z.csv.gz").code == 0
    (tmp_path / "l.csv").write_bytes("a;b\n1;ä\n".encode("cp1252"))
    options = ["-V", "in_set: {column: b, values: [ä]}", "--source", "{encoding: cp1252, separator: ;}"]
    assert sentrio("check", tmp_path / "l.csv", *options).code == 0
    (tmp_path / "u.csv").write_bytes("a,b\n1,ä\n".encode("utf-16"))
    assert sentrio("check", tmp_path / "u.csv", "--source", "encoding: utf-16").code == 0
    done = sentrio("check", tmp_path / "l.csv", "--source", "encoding: ascii")
    assert done.code == 3
    assert "not ascii text" in done.out


def test_a_url_with_a_password_shows_nowhere(sentrio: Any, tmp_path: Path) -> None:
    url = "ftp://user:hunter2@example.org/data.parquet?sig=hunter3"
    done = sentrio("-vv", "check", url)
    assert done.code == 2
    assert "ftp://example.org/data.parquet" in done.err
    (tmp_path / "sentrio.yaml").write_text(f"checkpoints: {{a: {{data_source: '{url}', validators: [not_null]}}}}\n")
    more = sentrio("-vv", "--log-format", "json", "run")
    assert more.code == 2
    assert "hunter" not in done.out + done.err + more.out + more.err


@pytest.mark.parametrize("query", ["", "?token=hun.ter2", "?a=[1]*&token=hunter2"])
@pytest.mark.parametrize("format_", ["table", "json", "junit", "github"])
def test_the_name_of_a_check_is_no_url(sentrio: Any, query: str, format_: str) -> None:
    url = f"http://user:hunter2@127.0.0.1:1/data/orders.csv{query}"
    done = sentrio("check", url, "--format", format_, "-vv")
    assert done.code == 3
    assert "orders" in done.out
    assert not re.search(r"hunter2|hun\.ter2|token", done.out + done.err)


def test_logs_name_run_and_checkpoint(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "sentrio.yaml").write_text(
        "checkpoints: {a: {data_source: a.csv, validators: [not_null], actions: [store: {path: a.csv}]}}\n"
    )
    done = sentrio("run", "--log-format", "json", "--format", "json")
    assert done.code == 4
    record = json.loads(done.err)
    result = json.loads(done.out)["results"][0]
    assert (record["level"], record["checkpoint"], record["run_id"]) == ("warning", "a", result["run_id"])
    done = sentrio("run", "--format", "json")
    run_id = json.loads(done.out)["results"][0]["run_id"]
    assert done.err.startswith(f"WARNING sentrio.checkpoint.actions [a {run_id[:6]}]: action store failed: ")
    assert sentrio("run", "--log-format", "xml").code == 2


@pytest.mark.endurance
def test_a_broken_pipe_is_no_verdict(tmp_path: Path) -> None:
    command = f"{sys.executable} -m sentrio check {PENGUINS} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() in {"0", "141"}
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def run_in_shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.endurance
@pytest.mark.parametrize("options", ["", "-f json", "-f github"])
def test_output_that_nobody_can_take_is_no_verdict(options: str) -> None:
    base = f"{sys.executable} -m sentrio check {PENGUINS} {options}"
    full = run_in_shell(f"{base} > /dev/full")
    assert (full.returncode, full.stderr) == (2, "the output can not be written: No space left on device\n")
    assert run_in_shell(f"{base} >&-").returncode == 0
    assert "Traceback" not in run_in_shell(f"{base} >&- 2>&-").stderr


FULL, GONE = "> /dev/full 2>&1", ">&- 2>&-"


@pytest.mark.parametrize(
    ("options", "streams"),
    [
        # One message of the command's own on each kind of stream, and each other kind of message on none at all.
        ("run --help", ["> /dev/full", FULL, GONE]),
        ("run -c gone.yaml", ["2> /dev/full", FULL, GONE]),
        ("--help", [FULL, GONE]),
        ("run --no-such-option", [FULL, GONE]),
        ("init -c /gone/x", [FULL, GONE]),
    ],
)
def test_messages_that_nobody_can_take_are_no_verdict(options: str, streams: list[str]) -> None:
    base = f"{sys.executable} -m sentrio {options}"
    for stream in streams:
        done = run_in_shell(f"{base} {stream}")
        assert done.returncode in ({0, 2} if "--help" in options else {2})
        assert "Traceback" not in done.stderr


def test_lines_that_end_with_a_carriage_return_alone(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "mac.csv").write_bytes(b"a,b\r1,2\r")
    done = sentrio("check", tmp_path / "mac.csv")
    assert done.code == 3
    assert "end with a carriage return alone" in done.out


def test_names_of_columns_may_be_values_of_a_file_without_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,hush@a.b,5\n2,x@y.z,6\n")
    rules: list[Any] = [{"not_null": {"column": "email"}}, {"regex": {"columns": ["1"], "pattern": "x"}}]
    for options in (
        {"redact_columns": ["email"]},
        {"sample_failures": 0},
        {"sample_failures": 0, "key_columns": ["hsh@a.b"]},
    ):
        result = library.check(tmp_path / "a.csv", rules, **options)
        assert result.status == "error"
        assert "hush" not in str(result) + str(result.to_dict()) + result.summary() + result.explain()


def test_a_column_without_a_name(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text('"",b\n1,2\n3,\n')
    assert sentrio("init", tmp_path / "n.csv").code == 0
    assert 'not_null: {column: "", ' in (tmp_path / "sentrio.yaml").read_text()
    assert sentrio("run").code == 0


def test_thousands_of_columns(sentrio: Any, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(3000)]
    (tmp_path / "wide.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    done = sentrio("check", tmp_path / "wide.csv", "-V", "not_null", "-V", "range: {min: 0}", "--format", "json")
    assert done.code == 0
    assert len(json.loads(done.out)["results"][0]["report"]["checks"]) == 6000


def test_the_folder_of_an_output_is_looked_for_first(sentrio: Any, tmp_path: Path) -> None:
    done = sentrio("check", PENGUINS, "--output", tmp_path / "no" / "out.json")
    assert (done.code, done.out) == (2, "")
    assert "there is no folder" in done.err


def test_verbose_runs_say_what_they_do(sentrio: Any) -> None:
    done = sentrio("-vv", "check", PENGUINS)
    assert "INFO sentrio.checkpoint [penguins_size" in done.err
    assert "DEBUG sentrio.validation" in done.err
    assert "INFO" not in sentrio("check", PENGUINS).err


def test_validate_says_everything_at_once(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "sentrio.yaml").write_text(
        "checkpoints:\n  a:\n    data_source: d.csv\n    fail_on: x\n    validators: [nul]\n"
        "  b:\n    data_source: d.csv\n    validators: [null]\n    actions:\n      - store: {path: x}\n"
        "      - store: {path: '${SENTRIO_UNSET}'}\n"
        "  c: {data_source: d.csv}\n"
    )
    done = sentrio("validate")
    assert done.code == 2
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == [
        "sentrio.yaml:4:5  checkpoints.a.fail_on",
        "sentrio.yaml:5:18  checkpoints.a.validators[0]",
        "sentrio.yaml:11:9  checkpoints.b.actions[1]",
        "sentrio.yaml:12:6  checkpoints.c",
    ]
    (tmp_path / "sentrio.yaml").write_text(
        "checkpoints:\n  b: {data_source: d.csv, validators: [null]}\n  c: {data_source: d.csv}\n"
    )
    assert sentrio("validate", "b").code == 0
    assert sentrio("validate", "c").err.startswith("sentrio.yaml:3:6  checkpoints.c: there are no validators")
