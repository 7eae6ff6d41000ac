"""The subcommands. What they need is imported when they run, so that ``--help`` answers at once."""

from __future__ import annotations

__all__ = ("app",)

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sentrio.cli.exits import PASSED, USAGE
from sentrio.cli.printing import complain, say

if TYPE_CHECKING:
    from sentrio.checkpoint.checkpoint import Checkpoint
    from sentrio.config import Config

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Data-quality checkpoints. Exit codes: 0 passed (warnings too), 1 a check failed, 2 bad usage or "
        "configuration, 3 could not tell, 4 verdict fine but an action failed, 130 interrupted (by Ctrl-C; 143 by "
        "SIGTERM)."
    ),
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file. Default: sentrio.yaml, then [tool.sentrio] in "
                 "pyproject.toml, searched upwards.", show_default=False),
]  # fmt: skip
BackendOption = Annotated[
    str | None, typer.Option("--backend", help="Event loop: asyncio or trio.", show_default=False)
]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log more; twice for everything.")]
LogFormatOption = Annotated[str | None, typer.Option("--log-format", help="Log as text or json.", show_default=False)]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="Only checkpoints with this tag; may be repeated.")
]
NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Checkpoints; default: all.")]
FailFastOption = Annotated[
    bool, typer.Option("--fail-fast", help="Stop reading at the first check that fails the run.")
]
FailOnOption = Annotated[
    str | None,
    typer.Option(
        "--fail-on", help="Least severity that fails: critical, high, medium, low or never.", show_default=False
    ),
]
FormatOption = Annotated[
    str, typer.Option("--format", "-f", help="For standard output: table, json, ndjson, junit, github.")
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", help="Options of the source as in YAML: 'null_values: [NA]'. May be repeated."),
]
OutputOption = Annotated[
    list[Path] | None,
    typer.Option("--output", "-o", help="Also write a file; .json .ndjson .xml .html .md decides. May be repeated."),
]


def _remember(context: typer.Context, **given: Any) -> dict[str, Any]:
    """Merge the global options given after the subcommand over those given before it."""
    root = context.find_root()
    root.obj = {**(root.obj or {}), **{name: value for name, value in given.items() if value}}
    merged: dict[str, Any] = root.obj
    return merged


def _begin(context: typer.Context, **given: Any) -> dict[str, Any]:
    """Merge the global options and set up what all subcommands need."""
    merged = _remember(context, **given)
    _set_up_logging(merged.get("verbose", 0), merged.get("log_format", "text"))
    return merged


def _set_up_logging(verbose: int, log_format: str) -> None:
    from sentrio.errors import OptionValueError

    if log_format not in {"text", "json"}:
        raise OptionValueError("sentrio", "--log-format", f"--log-format must be text or json, got {log_format!r}")
    from sentrio.cli.logs import set_up

    set_up(verbose, as_json=log_format == "json")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"sentrio {version('sentrio')}")
        raise typer.Exit(PASSED)


@app.callback()
def globals_(
    context: typer.Context,
    config: ConfigOption = None,
    backend: BackendOption = None,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    _remember(context, config=config, backend=backend, verbose=verbose, log_format=log_format)


def _load(given: dict[str, Any]) -> Config:
    from sentrio.config import load_config

    return load_config(given.get("config"))


def _backend(given: dict[str, Any]) -> str:
    from sentrio.async_core.background import default_backend
    from sentrio.errors import OptionValueError

    name = given.get("backend")
    if name not in {None, "asyncio", "trio"}:
        raise OptionValueError("sentrio", "--backend", f"--backend must be asyncio or trio, got {name!r}")
    return name or default_backend()


def _select(config: Config, names: list[str] | None, tags: list[str] | None) -> list[Checkpoint]:
    """Return the checkpoints with these names, or with one of these tags, or all of a file that has some."""
    from sentrio.errors import OptionValueError, UnknownCheckpointError

    for name in names or ():
        if name not in config.checkpoints:
            raise UnknownCheckpointError(name, tuple(config.checkpoints))
    chosen = [config.checkpoints[name] for name in dict.fromkeys(names or config.checkpoints)]
    if tags:
        chosen = [checkpoint for checkpoint in chosen if set(tags) & set(checkpoint.tags)]
        if not chosen:
            if names:
                problem = f"none of {', '.join(names)} has the tag {' or '.join(tags)}"
                raise OptionValueError("sentrio", "--tag", problem)
            known = sorted({tag for checkpoint in config.checkpoints.values() for tag in checkpoint.tags})
            problem = f"no checkpoint has the tag {' or '.join(tags)}; known tags are: {', '.join(known) or 'none'}"
            raise OptionValueError("sentrio", "--tag", problem)
    return chosen


def _source_options(texts: list[str] | None) -> dict[str, Any]:
    from sentrio.config import parse_mapping

    options: dict[str, Any] = {}
    for text in texts or ():
        options |= parse_mapping(text, "--source")
    return options


def _overridden(checkpoints: list[Checkpoint], fail_on: str | None, fail_fast: bool) -> list[Checkpoint]:
    import copy

    changed = []
    for checkpoint in checkpoints:
        twin = copy.copy(checkpoint)
        if fail_on is not None:
            twin.fail_on = fail_on
        twin.fail_fast = twin.fail_fast or fail_fast
        changed.append(twin)
    return changed


def _without_sites(config: Config, chosen: list[Checkpoint], names: list[str] | None) -> list[Checkpoint]:
    """Leave out the checkpoint whose data only `sentrio pipeline` can name, since each site has its own."""
    from sentrio.errors import ConfigurationError, OptionValueError, Problem

    bound = config.pipeline.checkpoint if config.pipeline is not None else None
    free = [checkpoint for checkpoint in chosen if checkpoint is not bound]
    if bound is not None and len(free) < len(chosen):
        problem = f"checkpoint {bound.name!r} has data for each site; `sentrio pipeline` runs it"
        if names or not free:
            raise OptionValueError("sentrio", "NAME", problem)
        complain(f"{problem}, and it is left out here")
    if not chosen:
        raise ConfigurationError([Problem("", "there are no `checkpoints`", str(config.path))])
    return free


@app.command()
def run(
    context: typer.Context,
    names: NamesArgument = None,
    config: ConfigOption = None,
    tag: TagOption = None,
    fail_fast: FailFastOption = False,
    fail_on: FailOnOption = None,
    format_: FormatOption = "table",
    output: OutputOption = None,
    backend: BackendOption = None,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """Run checkpoints, print their results, and exit with the verdict."""
    from sentrio.cli.running import Outputs, run_checkpoints

    given = _begin(context, config=config, backend=backend, verbose=verbose, log_format=log_format)
    outputs = Outputs(format_, tuple(output or ()))
    loop = _backend(given)
    loaded = _load(given)
    chosen = _overridden(_without_sites(loaded, _select(loaded, names, tag), names), fail_on, fail_fast)
    raise typer.Exit(run_checkpoints(chosen, outputs, backend=loop))


@app.command()
def check(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="A file, a folder or a glob pattern.")],
    validator: Annotated[
        list[str] | None,
        typer.Option("--validator", "-V", help="An entry as in YAML: not_null, or 'range: {column: age, min: 0}'. "
                     "May be repeated; default: not_null."),
    ] = None,
    source: SourceOption = None,
    key_column: Annotated[
        list[str] | None, typer.Option("--key-column", help="Shown beside failing values; may be repeated.")
    ] = None,
    sample_failures: Annotated[int, typer.Option("--sample-failures", help="Failing rows shown for each check.")] = 5,
    fail_fast: FailFastOption = False,
    fail_on: FailOnOption = None,
    format_: FormatOption = "table",
    output: OutputOption = None,
    backend: BackendOption = None,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:  # fmt: skip
    """Check one file without a configuration."""
    from sentrio.checkpoint.checkpoint import Checkpoint
    from sentrio.cli.naming import name_of
    from sentrio.cli.running import Outputs, run_checkpoints
    from sentrio.config import parse_entry

    given = _begin(context, backend=backend, verbose=verbose, log_format=log_format)
    outputs = Outputs(format_, tuple(output or ()))
    loop = _backend(given)
    entries = [parse_entry(text, "--validator") for text in validator or ["not_null"]]
    options = _source_options(source)
    checkpoint = Checkpoint(
        name=name_of(data),
        data_source={**options, "path": data},
        validators=entries,
        key_columns=key_column or [],
        sample_failures=sample_failures,
        fail_fast=fail_fast,
        fail_on=fail_on or "high",
    )
    raise typer.Exit(run_checkpoints([checkpoint], outputs, backend=loop))


@app.command()
def validate(
    context: typer.Context,
    names: NamesArgument = None,
    config: ConfigOption = None,
    tag: TagOption = None,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """Say what is wrong with the configuration, without reading any data."""
    from sentrio._yaml.reader import in_order
    from sentrio.config.loader import examine_config
    from sentrio.errors import ConfigurationError

    given = _begin(context, config=config, verbose=verbose, log_format=log_format)
    loaded, problems, faults = examine_config(given.get("config"))
    # Who was asked for may be one of those that could not be made.
    chosen = list(loaded.checkpoints.values()) if problems else _select(loaded, names, tag)
    problems = in_order([*problems, *(fault for each in chosen for fault in faults.get(each.name, ()))])
    if problems:
        raise ConfigurationError(problems)
    pipeline_too = " and a pipeline" if loaded.pipeline is not None else ""
    count = f"{len(chosen)} checkpoint{'' if len(chosen) == 1 else 's'}"
    say(f"{loaded.path}: {count}{pipeline_too}, no problem found")


@app.command("list")
def list_(
    context: typer.Context,
    names: NamesArgument = None,
    config: ConfigOption = None,
    tag: TagOption = None,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """List the checkpoints: name, data, number of validators, tags."""
    given = _begin(context, config=config, verbose=verbose, log_format=log_format)
    chosen = _select(_load(given), names, tag)
    from sentrio.checkpoint.formats.table import visible
    from sentrio.validation.wording import count_of

    rows = []
    for each in chosen:
        counts = (count_of(len(each.validators), "validator"), count_of(len(each.actions), "action"))
        rows.append((each.name, each.source().label, *counts, " ".join(each.tags)))
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    for row in rows:
        say("   ".join(visible(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def pipeline(
    context: typer.Context,
    sites: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SITE]...", help="What the pipeline's command is run for; default: its `sites`."),
    ] = None,
    config: ConfigOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last run of the job log: leave out what has finished.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run again what has failed in the last run of the job log.")
    ] = False,
    halt: Annotated[
        str | None,
        typer.Option(
            "--halt", help="When failed sites end the run: never, soon,fail=N or now,fail=N.", show_default=False
        ),
    ] = None,
    job_log: Annotated[
        Path | None, typer.Option("--job-log", help="A file for one line a finished site.", show_default=False)
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="For standard output: table, json, ndjson, junit.")
    ] = "table",
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="Also write a file; .json .ndjson .xml decides. May be repeated."),
    ] = None,
    backend: BackendOption = None,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """Run the pipeline's command for each site, and exit with 1 if one did not succeed."""
    import attrs

    from sentrio.cli.sites import SiteOutputs, Wanted, run_sites
    from sentrio.errors import ConfigurationError, Problem

    given = _begin(context, config=config, backend=backend, verbose=verbose, log_format=log_format)
    outputs = SiteOutputs(format_, tuple(output or ()))
    wanted = Wanted(sites=tuple(sites or ()), resume=resume, retry_failed=retry_failed)
    loop, loaded = _backend(given), _load(given)
    if loaded.pipeline is None:
        problem = "there is no `pipeline`, which says what is run for each site, as in pipeline: {command: [...]}"
        raise ConfigurationError([Problem("", problem, str(loaded.path))])
    changes: dict[str, Any] = {} if job_log is None else {"job_log": job_log.absolute()}
    if halt is not None:
        changes |= {"halt": halt, "error_aggregation": True}
    is_quiet = not given.get("verbose") and given.get("log_format") != "json"
    made = attrs.evolve(loaded.pipeline, **changes)
    raise typer.Exit(run_sites(made, wanted, outputs, backend=loop, is_quiet=is_quiet))


@app.command()
def init(
    data: Annotated[
        str | None, typer.Argument(help="A file to write checks for; default: a commented example.")
    ] = None,
    source: SourceOption = None,
    output: Annotated[Path, typer.Option("--config", "-c", help="The file to be written.")] = Path("sentrio.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a commented configuration, with DATA one whose checks hold today; over another one only with --force."""
    from sentrio.async_core.file import write_atomically
    from sentrio.cli.init import starter

    if not force and os.path.lexists(output):
        _refuse_to_replace(output)  # before anything is read
    text = starter(data, output.absolute().parent, _source_options(source))
    try:
        write_atomically(output, text.encode(), overwrite=force)
    except FileExistsError:
        _refuse_to_replace(output)
    except OSError as exc:
        complain(f"{output}: {exc.strerror or exc}")
        raise typer.Exit(USAGE) from exc
    say(f"wrote {output}; next: sentrio validate --config {output}, then sentrio run --config {output}")


def _refuse_to_replace(output: Path) -> NoReturn:
    complain(f"{output} is there already; --force replaces it")
    raise typer.Exit(USAGE)


logging.getLogger("sentrio").addHandler(logging.NullHandler())
