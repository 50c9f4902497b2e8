"""`canary validate` and `canary schema`: what is wrong with rollout files, and what they may say.

Colour only on a terminal; elsewhere one line per finding, as editors and CI like to parse it.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from sidecar import config, rollout
from sidecar.cli.options import address_options, dialling_options, run_dir_option
from sidecar.errors import CanaryError

_TINY = Decimal("0.001")


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--envoy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="ENVOY.yaml",
    help="An Envoy configuration: report what the rollouts look at and it does not forward, and"
    " what else does not fit, as `canary envoy --check` does.",
)
@run_dir_option
@address_options
@dialling_options
def validate(paths: tuple[Path, ...], envoy: Path | None, **given: Any) -> None:
    """Check rollout files, and folders of them: print every mistake, or each rollout's split.

    All files are taken together, as one controller would. If all is well, the running controller
    is asked what they would change, and who would move; a controller that is named must answer.
    Exit status: 0 if all is well, 1 if there is a mistake (with --envoy: or an error there), 2 if
    the command line is wrong.
    """
    files, problems = _files(paths)
    reading = rollout.read(rollout.Source(file.name, file.data) for file in files)
    console = Console(highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(_refused(*problem))
    for mistake in reading.mistakes:
        place = f"{mistake.file}:{mistake.line}:{mistake.column}"
        what = f"{mistake.path}: {mistake.message}" if mistake.path else mistake.message
        console.print(_refused(place, what, mistake.remedy))
    wrong = {mistake.file for mistake in reading.mistakes}
    for warning in reading.warnings:
        place = f"{warning.file}:{warning.line}:{warning.column}"
        console.print(_warned(place, f"{warning.path}: {warning.message}", warning.remedy))
    for declared in reading.declared:
        if declared.file not in wrong:
            console.print(_fine(declared))
    misfits = _misfits(envoy, [one.rollout for one in reading.declared]) if envoy else 0
    _conclude(len(problems) + len(reading.mistakes) + misfits)
    _compare(console, [one.rollout for one in reading.declared], given)


@click.command()
def schema() -> None:
    """Print the JSON Schema of the Rollout document, the one that `validate` uses."""
    click.echo(json.dumps(rollout.schema(), indent=2))


_Problem = tuple[str, str, str]


def _files(paths: Iterable[Path]) -> tuple[list[config.File], list[_Problem]]:
    """Read what can be read; an unreadable path is one mistake among the others."""
    files: dict[str, config.File] = {}
    problems: list[_Problem] = []
    for path in paths:
        try:
            found = config.rollout_paths([path])
        except config.ConfigError as error:
            problems.append(("canary", str(error.args[0]), error.remedy))
            continue
        if not found:
            kinds = ", ".join(f"*{suffix}" for suffix in config.SUFFIXES)
            problems.append((str(path), f"the folder has no {kinds}", "put rollouts there"))
        for one in found:
            try:
                files.setdefault(str(one), config.read_file(one))
            except config.ConfigError as error:
                problems.append(("canary", str(error.args[0]), error.remedy))
    return list(files.values()), problems


def _misfits(envoy: Path, rollouts: list[rollout.Rollout]) -> int:
    """Print what in an Envoy configuration does not fit; return how many errors there are."""
    from sidecar.cli.envoy import tree  # noqa: PLC0415 - most validate without one
    from sidecar.extproc import fitting  # noqa: PLC0415

    found = fitting.misfits(tree(envoy), rollouts)
    for one in found:
        click.echo(f"{envoy}: {one.severity}: {one}")
    return sum(one.severity == "error" for one in found)


def _compare(console: Console, rollouts: list[rollout.Rollout], given: Mapping[str, Any]) -> None:
    """Say what would change for whom; or that nobody was asked."""
    settings = config.settings(**given)
    socket = config.socket_path(settings.control)
    if not given["control"] and (socket is None or not Path(socket).exists()):
        click.echo(f"canary: not held against a running controller (none at {socket})", err=True)
        return
    from sidecar.cli import comparing  # noqa: PLC0415 - without a controller, no gRPC to load

    try:
        for name, said in comparing.with_running(rollouts, settings):
            console.print(Text.assemble((f"{name}: ", "bold"), (said, "yellow")))
    except CanaryError as error:
        if given["control"]:
            raise
        click.echo(f"canary: not held against a running controller ({error.args[0]})", err=True)


def _refused(place: str, what: str, remedy: str) -> Text:
    return Text.assemble(
        (f"{place}: ", "bold"), (what, "red"), "\n", ("  remedy: ", "dim"), (remedy, "green")
    )


def _warned(place: str, what: str, remedy: str) -> Text:
    return Text.assemble(
        (f"{place}: ", "bold"), ("warning: ", "yellow"), what, "\n", ("  remedy: ", "dim"), remedy
    )


def _fine(declared: rollout.Declared) -> Text:
    named = declared.rollout
    total = sum(variant.weight for variant in named.variants)
    split = ", ".join(
        f"{variant.name} {_percent(variant.weight * 100 / total)}" for variant in named.variants
    )
    if named.plan:
        way = " -> ".join(f"{step.weight:f}" for step in named.plan.steps)
        split = f"{named.plan.candidate} {way} % ({named.plan.strategy})"
    return Text.assemble(
        (f"{declared.file}:{declared.line}: ", "dim"), (named.name, "bold"), f": {split}"
    )


def _percent(share: Decimal) -> str:
    if 0 < share < _TINY:
        return f"<{_TINY} %"
    text = f"{share:.3f}".rstrip("0").rstrip(".")
    return f"{text} %"


def _conclude(mistakes: int) -> None:
    if mistakes:
        click.echo(f"canary: {mistakes} mistake{'s' if mistakes > 1 else ''}", err=True)
        sys.exit(1)
