"""A sidecar's records in processes that kill themselves: before and after each commit of its spool
and of the controller's rows, each message that it took, and each tick.

A life takes what Envoy says, ticks, reports, and is acknowledged; the next one takes over. Usage:
`crashing_sidecar.py FOLDER FIRST EVERY`; what came out of it all is printed as JSON.
"""

import json
import sys
from pathlib import Path

from entries import DECISION, entry, message
from mortal import Fate, lives, note, noted

from sidecar.analysis import cells
from sidecar.outcomes.ledger import Ledger, Table
from sidecar.outcomes.spool import Spool
from sidecar.store import Outcomes

NOW_S = 1_800_000_000
ENTRIES, MESSAGES = 3, 8
MOST_POINTS = 400
CANARY = ("chat", "canary", "weight")


def given(number: int) -> bytes:
    """The nth message: each of its units is new, one of them fails."""
    return message(
        *[
            entry(
                decisions={"chat": {**DECISION, "unit": f"{number * ENTRIES + at:016x}"}},
                code=200 if at else 503,
                start_us=(NOW_S - 1 - number % 2) * 10**6,
            )
            for at in range(ENTRIES)
        ]
    )


def live(root: Path, fate: Fate) -> None:
    """Take messages to the last, and report them all."""
    fate.rules_every_commit()
    store, ledger = Outcomes(root / "controller.sqlite"), Ledger(root / "state")
    table = Table("v1", [("chat", "canary")], [("chat", "canary")])
    ledger.announce(table)
    ledger.begin(table, {}, NOW_S)
    decided = 0
    for number in range(len(noted(root / "given")), MESSAGES):
        ledger.rows.take(given(number), NOW_S * 10**6)
        note(root / "given", ".")
        decided += ENTRIES
        ledger.count_started({CANARY: decided}, NOW_S - 1 - number % 2)
        fate.point()
        ledger.tick(NOW_S)
        fate.point()
        report(ledger.spool, store)
        if number % 3 == 2:
            ledger.spool.tidy(NOW_S)
            store.compact(NOW_S - 3_600)
    fate.point()
    ledger.close()
    report(Spool(root / "state" / "outcomes.sqlite"), store)
    store.close()


def report(spool: Spool, store: Outcomes) -> None:
    """Tell the controller all that waits, some rows at a time."""
    while rows := spool.pending(most=2):
        told = [("n1", r.epoch, r.number, r.sequence, *r.key, r.counts) for r in rows]
        store.add(told)
        spool.acknowledge(rows[-1].sequence)


def outcome(root: Path, *, killed: bool) -> dict[str, object]:
    store = Outcomes(root / "controller.sqlite")
    total: dict[int, int] = {}
    for one in store.seconds("chat", 0, 1 << 40):
        total = cells.add(total, cells.unpack(one.counts))
    store.close()
    names = ("STARTED", "COMPLETED", "ERRORS", "UNITS", "UNIT_ERRORS", "AT_RISK")
    return {
        "killed": killed,
        "journals": len(list((root / "state").glob("*.journal"))),
        **{name: total.get(getattr(cells, name), 0) for name in names},
    }


def main(root: Path, *, first: int, every: int) -> None:
    """Die at a point, then at a later one, ... until a process no longer comes that far."""
    made = []
    for fatal in range(first, MOST_POINTS, every):
        place = root / str(fatal)
        place.mkdir(parents=True)
        killed = lives(lambda fate, place=place: live(place, fate), fatal)
        made.append(outcome(place, killed=killed))
        if not killed:
            break
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), first=int(sys.argv[2]), every=int(sys.argv[3]))
