"""`canary validate` and `canary schema`: what is wrong with rollout files, and what they may say.

Colour only on a terminal; elsewhere one line per finding, as editors and CI like to parse it.
"""

import json
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from sidecar import config, rollout

_TINY = Decimal("0.001")


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    type=click.Path(exists=True, path_type=Path),
)
def validate(paths: tuple[Path, ...]) -> None:
    """Check rollout files, and folders of them: print every mistake, or each rollout's split.

    All files are taken together, as one controller would. Exit status: 0 if all is well, 1 if
    there is a mistake, 2 if the command line is wrong.
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
    _conclude(len(problems) + len(reading.mistakes))


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
