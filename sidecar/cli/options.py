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
        help="The controller: unix:///path or HOST:PORT.  [default: control.sock in the run"
        " directory]",
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


def serving_options(command: Command) -> Command:
    """Add what protects a controller on host:port."""
    for option in (
        click.option(
            "--http",
            envvar=config.HTTP_ENV,
            metavar="ADDRESS",
            show_envvar=True,
            help="Serve the HTTP API: a port on loopback, HOST:PORT or unix:///path. Protected as"
            " --control is.  [default: nowhere]",
        ),
        click.option(
            "--insecure-plaintext-control",
            envvar="CANARY_INSECURE_PLAINTEXT_CONTROL",
            is_flag=True,
            show_envvar=True,
            help="Serve beyond this machine without TLS: anybody may follow, nobody may change.",
        ),
        click.option(
            "--max-connection-age",
            envvar="CANARY_MAX_CONNECTION_AGE",
            type=click.FloatRange(min=1),
            default=config.NO_SECURITY.max_connection_age_s,
            show_default=True,
            metavar="SECONDS",
            show_envvar=True,
            help="How long a certificate or token counts once it let a sidecar in.",
        ),
        _several("--allow-operator", "Who may change weights, by a name in the certificate."),
        _several("--allow-sidecar", "Who may follow.  [default: any certificate of the CA]"),
        _file("--operator-token-file", "Tokens that may change weights, one a line."),
        _file("--token-file", "Tokens that may follow and read, one a line."),
        _file("--tls-client-ca", "The CA of the certificates that callers must show."),
        _file("--tls-key", "The private key of --tls-cert."),
        _file("--tls-cert", "The controller's certificate: TLS for --control HOST:PORT."),
    ):
        command = option(command)
    return command


def dialling_options(command: Command) -> Command:
    """Add what proves to each other a controller on host:port and this process."""
    for option in (
        click.option(
            "--insecure-plaintext-control",
            envvar="CANARY_INSECURE_PLAINTEXT_CONTROL",
            is_flag=True,
            show_envvar=True,
            help="Reach a controller on another machine without TLS.",
        ),
        _file("--token-file", "The token to show the controller; the first line counts."),
        _file("--tls-key", "The private key of --tls-cert."),
        _file("--tls-cert", "The certificate to show the controller."),
        click.option(
            "--control-name",
            envvar="CANARY_CONTROL_NAME",
            metavar="NAME",
            show_envvar=True,
            help="The name in the controller's certificate.  [default: the host of --control]",
        ),
        _file("--tls-ca", "The CA that signed the controller's certificate: TLS for HOST:PORT."),
    ):
        command = option(command)
    return command


def _file(name: str, text: str) -> Command:
    variable = "CANARY_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, metavar="FILE", show_envvar=True, help=text)


def _several(name: str, text: str) -> Command:
    variable = "CANARY_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(
        name,
        envvar=variable,
        metavar="NAME",
        multiple=True,
        show_envvar=True,
        help=f"{text} May be repeated; * is one part, as in spiffe://mesh/ns/*/sa/web.",
    )
