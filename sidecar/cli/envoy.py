"""`canary envoy`: the Envoy configuration that fits the rollouts, or what does not fit in yours."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from sidecar import config, rollout
from sidecar.cli.options import run_dir_option
from sidecar.cli.rollouts import read
from sidecar.errors import CanaryError
from sidecar.extproc import bootstrap, fitting

_DEFAULTS = bootstrap.Options()


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--listen", default=_DEFAULTS.listen, show_default=True, help="Where clients come.")
@click.option("--admin", default=_DEFAULTS.admin, show_default=True, help="Envoy's own interface.")
@click.option(
    "--ext-proc",
    metavar="ADDRESS",
    help="The sidecar.  [default: ext_proc.sock in the run directory]",
)
@run_dir_option
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="CLUSTER=ADDRESS[,h2]",
    help="Where a variant's cluster is, host:port or unix:///path; ,h2 for gRPC. Once per cluster.",
)
@click.option("--access-log", default="", metavar="FILE", help="One JSON line per request, there.")
@click.option("--otlp", default="", metavar="HOST:PORT", help="A collector for Envoy's spans.")
@click.option(
    "--trace-percent",
    type=click.FloatRange(0, 100),
    default=_DEFAULTS.trace_percent,
    show_default=True,
    help="How many of the requests are traced, by Envoy and the sidecar.",
)
@click.option(
    "--filters",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="HTTP filters that run before the decision, as a YAML list: jwt_authn, for rules about"
    " claims.",
)
@click.option(
    "--check",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="ENVOY.yaml",
    help="Print nothing but what does not fit the rollouts in this configuration (and, where it is"
    " given, the sidecar at --ext-proc).",
)
def envoy(  # noqa: PLR0913, PLR0917 -- one parameter per flag
    paths: tuple[str, ...],
    listen: str,
    admin: str,
    ext_proc: str | None,
    run_dir: str | None,
    upstreams: tuple[str, ...],
    access_log: str,
    otlp: str,
    trace_percent: float,
    filters: Path | None,
    check: Path | None,
) -> None:
    """Print a complete Envoy configuration for the rollouts in PATH (files or folders)."""
    rollouts = read(paths)
    if check:
        _check(check, rollouts, fitting.Use(address=ext_proc or ""))
        return
    named = bootstrap.parse_upstreams(upstreams)
    ext_proc = ext_proc or config.settings(run_dir).listen
    options = bootstrap.Options(listen, admin, ext_proc, named, access_log, otlp, trace_percent)
    options = replace(options, filters=_filters(filters))
    made = bootstrap.bootstrap(rollouts, options)
    more = ["--filters", str(filters)] if filters else []
    click.echo(_header(paths, options, upstreams, more), nl=False)
    click.echo(yaml.safe_dump(made, sort_keys=False), nl=False)


def _check(path: Path, rollouts: list[rollout.Rollout], use: fitting.Use) -> None:
    found = fitting.misfits(tree(path), rollouts, use)
    for misfit in found:
        click.echo(misfit)
    if found:
        raise SystemExit(1)


def _filters(path: Path | None) -> tuple[bootstrap.Json, ...]:
    found = tree(path) if path else []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CanaryError(
            f"{path}: not a list of HTTP filters",
            remedy="write each as '- name: ...' with its typed_config",
        )
    return tuple(found)


def tree(path: Path) -> Any:
    """Read a YAML file that is not ours. Raises CanaryError if it is none."""
    try:
        return yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise CanaryError(f"{path}: not YAML: {error}", remedy="mend it first") from error


def _header(
    paths: tuple[str, ...],
    options: bootstrap.Options,
    upstreams: tuple[str, ...],
    more: list[str],
) -> str:
    given = [
        word
        for flag, value, default in (
            ("--listen", options.listen, _DEFAULTS.listen),
            ("--admin", options.admin, _DEFAULTS.admin),
            ("--ext-proc", options.ext_proc, _DEFAULTS.ext_proc),
            ("--access-log", options.access_log, _DEFAULTS.access_log),
            ("--otlp", options.otlp, _DEFAULTS.otlp),
            ("--trace-percent", options.trace_percent, _DEFAULTS.trace_percent),
        )
        if value != default
        for word in (flag, str(value))
    ]
    named = [word for text in upstreams for word in ("--upstream", text)]
    command = shlex.join(["canary", "envoy", *paths, *given, *named, *more])
    return (
        "# Made from the rollouts; make it anew when hosts, paths, units, segments or variants\n"
        f"# change (weights need no Envoy): {command}\n"
    )
