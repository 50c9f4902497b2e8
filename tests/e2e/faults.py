"""Runs the demo on deliberately broken builds: `python faults.py FAULT NAME [demo's arguments]`.

The faults live here alone. Those of the product are patched into the `canary up` process, which
is this file again (`python faults.py --canary FAULT up ...`); the other one is in Envoy's
configuration. FAULT `none` is the product as it is.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sidecar import routing
from sidecar.analysis import cells


class WrongHash(routing.Draft):
    def put(self, route):
        super().put(dataclasses.replace(route, salt=route.salt + b"?"))


class UpdateIgnored(routing.Draft):
    kept = b""

    def finish(self, *given):
        made = super().finish(*given)
        if len(routing.Table(made)) and not UpdateIgnored.kept:
            UpdateIgnored.kept = made
        return UpdateIgnored.kept or made


def route_cache_not_cleared(config):
    [listener] = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["route_cache_action"] = "RETAIN"
    return config


def blind_guard():
    """The guard hears of every request, and of nothing that is wrong with any."""
    unpack = cells.unpack
    bad = {cells.ERRORS, cells.UNIT_ERRORS}

    def well(packed):
        counts = unpack(packed)
        fine = {cell: n for cell, n in counts.items() if cell not in bad and cell < cells.DURATION}
        fast = {cells.DURATION: cells.COMPLETED, cells.UNIT_DURATION: cells.UNITS}
        return fine | {cell: counts.get(count, 0) for cell, count in fast.items()}

    cells.unpack = well


IN_CANARY = {"wrong_hash": WrongHash, "update_ignored": UpdateIgnored}
IN_GUARD = {"blind_guard": blind_guard}
IN_ENVOY = {"route_cache_not_cleared": route_cache_not_cleared}


def run_canary(fault, words):
    # Before anything else is imported, so that everybody takes the broken one.
    if fault in IN_CANARY:
        routing.Draft = IN_CANARY[fault]
    from sidecar.cli import main  # noqa: PLC0415

    if fault in IN_GUARD:
        IN_GUARD[fault]()
    sys.argv = ["canary", *words]
    main()


def run_demo(fault, name, words):
    from bench import demo  # noqa: PLC0415
    from bench.lab.stack import Plan  # noqa: PLC0415

    plan = Plan(name=name)
    if fault in IN_CANARY or fault in IN_GUARD:
        broken = (sys.executable, str(Path(__file__).resolve()), "--canary", fault)
        plan = dataclasses.replace(plan, canary=broken)
    if fault in IN_ENVOY:
        plan = dataclasses.replace(plan, adjust=IN_ENVOY[fault])
    return demo.run(demo.parse(words), plan)


if __name__ == "__main__":
    if sys.argv[1] == "--canary":
        run_canary(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(run_demo(sys.argv[1], sys.argv[2], sys.argv[3:]))
