"""`canary weights` and `canary status`: asking running processes."""

import json
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import click

from sidecar import config
from sidecar.cli import report, watching
from sidecar.cli.options import address_options, dialling_options, run_dir_option
from sidecar.errors import CanaryError


@click.command()
@click.argument("rollout", metavar="NAME")
@click.argument("assignments", metavar="VARIANT=WEIGHT...", nargs=-1, required=True)
@click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    metavar="R",
    help="Refuse the change if the rollout is no longer at revision R (see `canary status`).",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the record.")
@run_dir_option
@address_options
@dialling_options
def weights(
    rollout: str,
    assignments: tuple[str, ...],
    if_revision: int | None,
    reason: str,
    **given: Any,
) -> None:
    """Change the weights in force of rollout NAME, at once and without a restart.

    Numbers are those of the document's total: with stable 95 and canary 5, canary=50 is half.
    Candidates not named keep their share and the baseline takes the rest. Where every variant is
    named, only the ratios count.

    \b
    canary weights chat canary=50
    canary weights chat stable=1 canary=1 --reason "half and half"
    """  # noqa: D301 - click takes the real backspace
    from sidecar.control import calls  # noqa: PLC0415 - `--help` need not load gRPC

    settings = config.settings(**given)
    reply = calls.set_weights(
        settings.control,
        rollout,
        _parsed(assignments),
        reason=reason,
        expected_revision=if_revision,
        security=settings.security,
    )
    click.echo(report.change(reply))


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print canary.v1 messages as JSON.")
@click.option(
    "--watch",
    "watched",
    is_flag=True,
    help="Go on until Ctrl-C: a live view on a terminal, elsewhere one line per change.",
)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="S",
    help="With --watch: seconds between two looks.",
)
@run_dir_option
@address_options
@dialling_options
def status(
    name: str | None, *, as_json: bool, watched: bool, interval_s: float, **given: Any
) -> None:
    """Show how everything stands: the controller's side and the sidecar's.

    With NAME the launch of that rollout: its weights, step and time left, what it waits for, and
    each guardrail with estimate and interval against its margin.

    Exit status 1 if one of them does not answer; the other is shown all the same. With --watch 0.
    """
    from sidecar.control import calls  # noqa: PLC0415

    settings = config.settings(**given)
    controller_status = partial(calls.controller_status, security=settings.security)

    def ask() -> watching.Sides:
        return (
            calls.attempt(controller_status, settings.control),
            calls.attempt(calls.sidecar_status, settings.admin),
        )

    if name:
        _launch(lambda: controller_status(settings.control), name, as_json, watched, interval_s)
        return
    if watched:
        watching.watch(ask, interval_s, as_json=as_json)
        return
    sides = ask()
    if as_json:
        click.echo(json.dumps(report.both_as_json(*sides), indent=2))
    else:
        report.show(*sides)
    if any(isinstance(side, CanaryError) for side in sides):
        sys.exit(1)


def _launch(
    ask: Callable[[], Any],
    name: str,
    as_json: bool,  # noqa: FBT001
    watched: bool,  # noqa: FBT001
    interval_s: float,
) -> None:
    from sidecar.cli import launches  # noqa: PLC0415

    if watched:
        launches.watch(lambda: launches.named(ask(), name), interval_s, as_json=as_json)
    elif as_json:
        click.echo(json.dumps(report.as_json(launches.named(ask(), name)), indent=2))
    else:
        launches.show(launches.named(ask(), name))


def _parsed(assignments: tuple[str, ...]) -> dict[str, Decimal]:
    pairs = [_pair(text) for text in assignments]
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        raise CanaryError("a variant is named twice", remedy="name each variant once")
    return parsed


def _pair(text: str) -> tuple[str, Decimal]:
    variant, _, weight = text.partition("=")
    try:
        return variant, Decimal(weight)
    except InvalidOperation as error:
        raise CanaryError(
            f"{text!r} is not VARIANT=WEIGHT", remedy="write for example canary=50 or canary=2.5"
        ) from error
