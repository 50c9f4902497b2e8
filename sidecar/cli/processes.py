"""`canary up`, `canary controller` and `canary sidecar`: the processes that run until stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sidecar import config
from sidecar.cli.options import (
    address_options,
    dialling_options,
    location_options,
    observing_options,
    serving_options,
)

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_ENGINE = click.option(
    "--engine",
    envvar=config.ENGINE_ENV,
    default="native",
    show_default=True,
    show_envvar=True,
    type=click.Choice(["native", "grpcio"]),
    help="What answers Envoy: native (C, on its own threads) or grpcio (portable, far slower).",
)


def _sidecar_options(command: Callable[..., Any]) -> Callable[..., Any]:
    listen = click.option(
        "--listen",
        envvar=config.LISTEN_ENV,
        metavar="ADDRESS",
        help="Where Envoy reaches ext_proc and health: unix:///path or 127.0.0.1:PORT."
        "  [default: ext_proc.sock in the run directory]",
    )
    node = click.option(
        "--node",
        envvar=config.NODE_ENV,
        metavar="ID",
        help="The name this sidecar gives the controller.  [default: the host's name]",
    )
    mode = click.option(
        "--socket-mode",
        envvar=config.SOCKET_MODE_ENV,
        type=click.Choice(["0600", "0660", "0666"]),
        default="0600",
        show_default=True,
        show_envvar=True,
        help="Who may connect to the ext_proc socket: its owner, its group too, or everybody.",
    )
    keys = click.option(
        "--force-keys",
        envvar="CANARY_FORCE_KEYS",
        metavar="FILE",
        show_envvar=True,
        help="Keys of the force tokens to honour, one `<id> <secret>` a line; read again when they"
        " change.  [default: none is honoured]",
    )
    return listen(mode(node(keys(_ENGINE(command)))))


@click.command()
@_FOLDER
@location_options
@address_options
@serving_options
@observing_options
@_sidecar_options
def up(folder: Path, engine: str, **given: Any) -> None:
    """Run controller and sidecar in one process, from a folder of rollouts.

    One machine needs nothing else. Edit the files in DIR, or move weights with `canary weights`;
    neither restarts anything. SIGTERM and Ctrl-C drain first; a second one ends at once.
    """
    from sidecar import app  # noqa: PLC0415 - `--help` need not load gRPC

    app.run_up(config.settings(**given), folder, engine)


@click.command()
@_FOLDER
@location_options
@address_options
@serving_options
@observing_options
def controller(folder: Path, **given: Any) -> None:
    """Run a controller: it owns the rollouts in DIR and tells the sidecars.

    The weights in force live in its state directory, so a restart changes nobody's variant. With
    --control HOST:PORT it serves control.sock in its run directory as well, for whoever is on its
    machine. Beyond the machine it wants TLS: see docs/security.md.
    """
    from sidecar import app  # noqa: PLC0415

    app.run_controller(config.settings(**given), folder)


@click.command()
@location_options
@address_options
@dialling_options
@observing_options
@_sidecar_options
def sidecar(engine: str, **given: Any) -> None:
    """Run a sidecar: it answers one Envoy and follows a controller.

    It starts from the last good resources on its disk while no controller is there.
    """
    from sidecar import app  # noqa: PLC0415

    app.run_sidecar(config.settings(**given), engine)
