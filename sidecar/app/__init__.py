"""The composition root: makes the parts of a process, wires them, starts and stops them.

The rooms below never import each other; what one needs of another is handed in here. A process
loads only its own side: a sidecar has no use for what serves HTTP, and none for numpy.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sidecar.app.running import Part, run
from sidecar.config import NO_SECURITY, Settings
from sidecar.telemetry import Telemetry

__all__ = ["run_controller", "run_sidecar", "run_up"]


def run_controller(settings: Settings, folder: Path) -> None:
    """Run a controller until a signal ends it. Raises CanaryError if it cannot start."""
    from sidecar.app.controller import Controller  # noqa: PLC0415 - see above

    run(settings, "canary-controller", lambda onlooker: [Controller(settings, folder, onlooker)])


def run_sidecar(settings: Settings, engine: str) -> None:
    """Run a sidecar until a signal ends it. Raises CanaryError if it cannot start."""
    from sidecar.app.sidecar import Sidecar  # noqa: PLC0415

    run(settings, "canary-sidecar", lambda onlooker: [Sidecar(settings, engine, onlooker)])


def run_up(settings: Settings, folder: Path, engine: str) -> None:
    """Run both in one process, over the real control socket."""
    from sidecar.app.controller import Controller  # noqa: PLC0415
    from sidecar.app.sidecar import Sidecar  # noqa: PLC0415

    # Wherever else the controller listens, its own sidecar is on its machine.
    near = replace(settings, control=settings.own_control, security=NO_SECURITY)

    def make(onlooker: Telemetry) -> Sequence[Part]:
        return [Controller(settings, folder, onlooker), Sidecar(near, engine, onlooker)]

    run(settings, "canary-sidecar", make)
