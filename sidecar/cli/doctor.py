"""`canary doctor`: ask Envoy, sidecar and controller, and name what is wrong with the remedy."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.request import ProxyHandler, build_opener

import click
from rich.console import Console
from rich.text import Text

from sidecar import config
from sidecar.cli import rollouts as named
from sidecar.cli import standing
from sidecar.cli.options import address_options, dialling_options, run_dir_option
from sidecar.control import calls
from sidecar.errors import CanaryError
from sidecar.extproc import doctor as envoys
from sidecar.extproc.findings import SEVERITIES, Finding, gathered
from sidecar.extproc.fitting import Use
from sidecar.extproc.routes import Declared
from sidecar.telemetry import environment

_TIMEOUT_S = 10.0
# A change is on its way for less than this; who asks just then asks again.
_UNDER_WAY_S = 0.5
_WIDEST = max(map(len, SEVERITIES))
_COLOURS = {"error": "bold red", "warning": "yellow"}


@click.command()
@click.argument("paths", nargs=-1, metavar="[ROLLOUTS]...")
@click.option(
    "--admin",
    envvar="CANARY_ENVOY_ADMIN",
    default="http://127.0.0.1:9901",
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Envoy's admin interface (in an Istio pod: http://127.0.0.1:15000).",
)
@run_dir_option
@address_options
@dialling_options
def doctor(paths: tuple[str, ...], admin: str, **given: Any) -> None:
    """Look at Envoy, sidecar and controller, and name what is wrong.

    Envoy's configuration is held against the rollouts in ROLLOUTS (files or folders); without
    any, against those that the running sidecar has in force. Each finding has an id, explained
    in docs/troubleshooting.md.

    \b
    error    requests get a wrong answer, or would under load or attack
    warning  answers are right, something else is lost or at risk

    Whether the sidecar makes spans is told by the OTEL_* variables: run it where the sidecar runs.
    Exit status: 1 if there is an error, else 0.
    """  # noqa: D301 - click takes the real backspace
    settings = config.settings(**given)
    sidecar, controller = _processes(settings)
    rollouts: list[Declared] = list(named.read(paths)) if paths else _in_force(settings)
    use = Use(traced=environment.read(os.environ).traces)
    if not isinstance(sidecar, CanaryError):
        use = replace(use, engine=sidecar.engine, address=sidecar.listen)
    found = gathered([*standing.judged(sidecar, controller), *_envoy(admin, rollouts, use)])
    _show(found, f"Envoy at {admin}, {len(rollouts)} rollout{'' if len(rollouts) == 1 else 's'}")
    if any(one.severity == "error" for one in found):
        sys.exit(1)


def _processes(settings: config.Settings) -> tuple[standing.Sidecar, standing.Controller]:
    """Ask both sides; once more if a change was just on its way from one to the other."""
    sides = _asked(settings)
    if standing.in_step(*sides):
        return sides
    time.sleep(_UNDER_WAY_S)
    return _asked(settings)


def _asked(settings: config.Settings) -> tuple[standing.Sidecar, standing.Controller]:
    return (
        calls.attempt(calls.sidecar_status, settings.admin),
        calls.attempt(
            partial(calls.controller_status, security=settings.security), settings.control
        ),
    )


def _in_force(settings: config.Settings) -> list[Declared]:
    """List what the sidecar has; nothing if it does not answer, which is a finding already."""
    held = calls.attempt(calls.sidecar_resources, settings.admin)
    return [] if isinstance(held, CanaryError) else list(held.routes)


def _envoy(admin: str, rollouts: Iterable[Declared], use: Use) -> tuple[Finding, ...]:
    try:
        dump, stats = _fetch(admin, envoys.CONFIG_PATH), _fetch(admin, envoys.STATS_PATH)
    except CanaryError as error:
        return (Finding("admin-unreachable", "Envoy", str(error.args[0]), error.remedy),)
    return envoys.examine(dump, stats, rollouts, use)


def _fetch(admin: str, path: str) -> Any:
    url = admin if admin.startswith(("http://", "https://")) else f"http://{admin}"
    # Envoy is on this machine: a proxy from the environment is never meant.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url.rstrip("/") + path, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except (OSError, HTTPException, ValueError) as error:
        raise CanaryError(
            f"its admin interface does not answer at {url} ({getattr(error, 'reason', error)})",
            remedy="say where it is with --admin (Envoy's bootstrap: admin.address)",
        ) from error


def _show(found: tuple[Finding, ...], looked_at: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for one in found:
        console.print(_line(one, on_terminal=console.is_terminal))
    if not found:
        console.print(Text.assemble(("no findings", "bold green"), f" ({looked_at})"))
        return
    counts = Counter(one.severity for one in found)
    listed = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items())
    click.echo(f"canary: {listed} ({looked_at})", err=True)


def _line(one: Finding, *, on_terminal: bool) -> Text:
    """Write one line per finding, for programs; people on a terminal get the remedy below."""
    where, message, remedy = (" ".join(t.split()) for t in (one.where, one.message, one.remedy))
    return Text.assemble(
        (f"{one.severity:<7}", _COLOURS[one.severity]),
        (f"  {one.id:<{_WIDEST}}  ", "bold"),
        f"{where}: {message}",
        "\n" + " " * (_WIDEST + 11) if on_terminal else "; ",
        ("remedy: ", "dim"),
        (remedy, "green"),
    )
