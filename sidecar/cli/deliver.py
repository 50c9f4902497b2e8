"""Moving launches from the command line: one command per word, `canary wait`, `canary history`."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from sidecar import config
from sidecar.cli.options import address_options, dialling_options, run_dir_option

# What `canary wait` ends with; docs/delivery.md explains each.
REACHED, ENDED_OTHERWISE, TIMED_OUT = 0, 3, 4
PHASES = ("pending", "running", "paused", "promoted", "rolledback", "error", "inconclusive")
_INTERVAL_S = 0.5

_ACTIONS = {"rollback": "ROLL_BACK"}
_HELP = {
    "pause": """Stop the launch of rollout NAME where it is.

    The weights stay, and so does the guard: it takes a harmful candidate out of a paused launch
    too.""",
    "resume": """Let the paused launch of rollout NAME go on.

    The hold goes on where it stopped. Where weights were moved by hand, it goes on from the step
    that they amount to.""",
    "promote": """Give everybody the candidate of rollout NAME, at once.

    Whatever steps are left, and whatever they wait for.""",
    "abort": """End the launch of rollout NAME: everybody gets the baseline.

    Only while it is under way; `canary rollback` undoes a finished one too.""",
    "rollback": """Take the candidate of rollout NAME out: everybody gets the baseline.

    From wherever the launch stands, also after it was promoted.""",
    "approve": """Approve the next step of rollout NAME, where it asks for that.

    It begins once everything else it waits for is there too.""",
    "kill": """Give everybody the baseline of rollout NAME at once, above every other rule.

    Weights and document stay; a launch that is under way is paused.""",
    "revive": """Take rollout NAME back from `canary kill`: exactly the same people as before.

    A launch that was under way stays paused until `canary resume`.""",
    "launch": """Begin another launch of rollout NAME, after one that is over.

    From nobody; spec.relaunch says whether the same people come first.""",
}


def _command(word: str) -> click.Command:
    action = f"ACTION_{_ACTIONS.get(word, word.upper())}"

    @click.command(word, help=_HELP[word])
    @click.argument("rollout", metavar="NAME")
    @click.option("--why", default="", metavar="TEXT", help="Why; kept in the record.")
    @click.option(
        "--if-revision",
        type=click.IntRange(min=0),
        metavar="R",
        help="Refuse if the rollout is no longer at revision R (see `canary status`).",
    )
    @run_dir_option
    @address_options
    @dialling_options
    def command(rollout: str, why: str, if_revision: int | None, **given: Any) -> None:
        from sidecar.cli import launches  # noqa: PLC0415 - `--help` need not load gRPC
        from sidecar.control import calls  # noqa: PLC0415

        settings = config.settings(**given)
        reply = calls.act(
            settings.control,
            rollout,
            action,
            reason=why,
            expected_revision=if_revision,
            security=settings.security,
        )
        click.echo(launches.acted(reply))

    return command


pause = _command("pause")
resume = _command("resume")
promote = _command("promote")
abort = _command("abort")
rollback = _command("rollback")
approve = _command("approve")
launch = _command("launch")
kill = _command("kill")
revive = _command("revive")


@click.command()
@click.argument("rollout", metavar="NAME")
@click.option(
    "--for",
    "phases",
    multiple=True,
    type=click.Choice(PHASES, case_sensitive=False),
    default=("promoted",),
    show_default=True,
    help="The phase to wait for. Repeat for any of several.",
)
@click.option(
    "--timeout",
    "timeout",
    default="",
    metavar="DURATION",
    help="Give up after so long, such as 30m.  [default: never]",
)
@run_dir_option
@address_options
@dialling_options
def wait(rollout: str, phases: tuple[str, ...], timeout: str, **given: Any) -> None:
    """Wait until the launch of rollout NAME is in a phase; one line per change of it.

    \b
    exit status
    0  it is there
    1  it cannot be known: no such rollout, no steps, refused
    2  the command line is wrong
    3  it ended otherwise, and will not come there by itself (rolled back, promoted, retired)
    4  the time is over

    A controller that does not answer is asked again until the time is over.
    """  # noqa: D301 - click takes the real backspace
    from sidecar.cli import launches  # noqa: PLC0415
    from sidecar.cli.durations import seconds  # noqa: PLC0415
    from sidecar.control import calls  # noqa: PLC0415

    settings = config.settings(**given)
    deadline_s = time.monotonic() + seconds("--timeout", timeout) if timeout else None

    def ask() -> Any:
        return launches.named(calls.controller_status(settings.control, settings.security), rollout)

    sys.exit(_wait(ask, frozenset(phases), deadline_s, calls.UnreachableError))


def _wait(
    ask: Callable[[], Any],
    phases: frozenset[str],
    deadline_s: float | None,
    unreachable: type[Exception],
) -> int:
    from sidecar.cli import launches  # noqa: PLC0415

    said, complaint = "", ""
    while True:
        try:
            status = ask()
        except unreachable as error:
            if complaint != str(error):
                click.echo(f"canary: {error}", err=True)
            complaint = str(error)
        else:
            complaint = ""
            text = launches.standing(status)
            if text != said:
                click.echo(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")
            said = text
            phase = status.progress.phase.lower()
            if phase in phases:
                return REACHED
            if status.retired or phase in {"promoted", "rolledback"}:
                return ENDED_OTHERWISE
        if deadline_s is not None and time.monotonic() >= deadline_s:
            click.echo("canary: the time is over", err=True)
            return TIMED_OUT
        time.sleep(_INTERVAL_S)


@click.command()
@click.argument("rollout", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print canary.v1 messages as JSON.")
@click.option(
    "--newest", type=click.IntRange(min=1), metavar="N", help="Only the newest N.  [default: all]"
)
@run_dir_option
@address_options
@dialling_options
def history(rollout: str, newest: int | None, *, as_json: bool, **given: Any) -> None:
    """Show what happened to rollout NAME: when, what, by whom, why, with what weights.

    --json has the guard's evidence for each verdict, too.
    """
    from sidecar.cli import launches  # noqa: PLC0415
    from sidecar.control import calls  # noqa: PLC0415

    settings = config.settings(**given)
    found = calls.history(settings.control, rollout, newest or 0, settings.security)
    launches.show_history(found, as_json=as_json)
