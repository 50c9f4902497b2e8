"""`canary token`: a signed token that gives its holder a variant, for a while."""

import re
import time
from pathlib import Path

import click

from sidecar.errors import CanaryError

_PAIR = re.compile(r"([a-z0-9-]{1,63})=([a-z0-9-]{1,63})")


@click.command()
@click.argument("pairs", metavar="NAME=VARIANT...", nargs=-1, required=True)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The sidecar's --force-keys.",
)
@click.option("--key-id", metavar="ID", help="The key to sign with.  [default: the file's first]")
@click.option(
    "--expires", default="2h", show_default=True, metavar="DURATION", help="How long it holds."
)
def token(pairs: tuple[str, ...], key_file: Path, key_id: str | None, expires: str) -> None:
    """Print a token that gives its holder a variant of rollout NAME.

    Send it in the header canary-force. It stands above lists, segments and weights, below the kill
    switch, holdouts, exclusions and prerequisites.

    \b
    canary token chat-model=canary --key-file keys --expires 2h
    curl -H "canary-force: $(canary token chat-model=canary --key-file keys)" ...
    """  # noqa: D301 - click takes the real backspace
    from sidecar.cli import key_file as files  # noqa: PLC0415
    from sidecar.cli.durations import seconds  # noqa: PLC0415 - `--help` need not load it
    from sidecar.routing import force  # noqa: PLC0415

    keys = files.read(key_file)
    key = keys[0] if key_id is None else next((k for k in keys if k.id == key_id), None)
    if key is None:
        there = ", ".join(known.id for known in keys)
        raise CanaryError(f"{key_file} has no key {key_id!r}", remedy=f"there are: {there}")
    expires_s = int(time.time() + seconds("--expires", expires))
    click.echo(force.sign(key, dict(map(_pair, pairs)), expires_s))


def _pair(text: str) -> tuple[str, str]:
    found = _PAIR.fullmatch(text)
    if not found:
        raise CanaryError(f"{text!r} is not NAME=VARIANT", remedy="write such as chat-model=canary")
    return found[1], found[2]
