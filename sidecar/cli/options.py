"""Options that several commands share; each has its environment variable."""

from collections.abc import Callable
from typing import Any

import click

from sidecar import config

Command = Callable[..., Any]


def location_options(command: Command) -> Command:
    """Add --run-dir and --state-dir."""
    state = click.option(
        "--state-dir",
        envvar=config.STATE_DIR_ENV,
        metavar="DIR",
        show_envvar=True,
        help="What survives a restart: controller.sqlite, sidecar.resources."
        "  [default: /var/lib/canary for root, else the user's state directory]",
    )
    return run_dir_option(state(command))


def run_dir_option(command: Command) -> Command:
    """Add --run-dir."""
    return click.option(
        "--run-dir",
        envvar=config.RUN_DIR_ENV,
        metavar="DIR",
        show_envvar=True,
        help="The sockets: ext_proc.sock, sidecar.sock, control.sock."
        "  [default: /run/canary for root, else the user's runtime directory]",
    )(command)


def address_options(command: Command) -> Command:
    """Add --control."""
    return click.option(
        "--control",
        envvar=config.CONTROL_ENV,
        metavar="ADDRESS",
        show_envvar=True,
        help="The controller: unix:///path or 127.0.0.1:PORT.  [default: control.sock in the"
        " run directory]",
    )(command)


def observing_options(command: Command) -> Command:
    """Add --metrics and --log-format."""
    metrics = click.option(
        "--metrics",
        envvar=config.METRICS_ENV,
        metavar="HOST:PORT",
        show_envvar=True,
        help="Where Prometheus scrapes /metrics, such as 127.0.0.1:9464.  [default: nowhere]",
    )
    log_format = click.option(
        "--log-format",
        envvar=config.LOG_FORMAT_ENV,
        type=click.Choice(["console", "json"]),
        show_envvar=True,
        help="How stderr is written.  [default: console]",
    )
    return metrics(log_format(command))
