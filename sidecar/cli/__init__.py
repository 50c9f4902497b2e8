"""Words on the command line become calls; no logic lives here.

Commands are imported when they are used, so that `canary validate` does not pay for gRPC.
"""

import importlib
import os
import sys

import click

from sidecar.errors import CanaryError

COMMANDS = {
    "up": "processes",
    "sidecar": "processes",
    "controller": "processes",
    "weights": "operate",
    "status": "operate",
    "pause": "deliver",
    "resume": "deliver",
    "promote": "deliver",
    "abort": "deliver",
    "rollback": "deliver",
    "approve": "deliver",
    "launch": "deliver",
    "kill": "deliver",
    "revive": "deliver",
    "wait": "deliver",
    "history": "deliver",
    "validate": "documents",
    "schema": "documents",
    "envoy": "envoy",
    "which": "which",
    "simulate": "simulate",
    "token": "tokens",
    "doctor": "doctor",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="canary-sidecar")
def canary() -> None:
    """Canary launches behind Envoy: who gets which variant, decided per request."""


def main() -> None:
    """Run the command line; a CanaryError becomes its text on stderr and exit status 1."""
    # gRPC writes lines of its own to stderr, such as one per refused handshake, in no log's format.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        canary(prog_name="canary")
    except CanaryError as error:
        click.echo(f"canary: {error}", err=True)
        sys.exit(1)
