"""Our own values as `canary.v1` messages, for the replies of both services."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.control import codec, conversation
from sidecar.control.client import Client
from sidecar.control.following import Held
from sidecar.control.keeper import Keeper
from sidecar.control.offload import MANY, off_loop_if
from sidecar.control.pb import control_pb2 as pb
from sidecar.control.trips import Trip
from sidecar.delivery import UNDER_WAY, Event, Judgement, Phase, State, Weights, plain, waits
from sidecar.routing import Route

_LATEST_MS = 253_402_300_799_000  # the last moment that a timestamp can be

# By (rollout, variant, reason).
Decisions: TypeAlias = Mapping[tuple[str, str, str], int]


def weights(values: Weights) -> list[pb.Weight]:
    """Weights in their order, each as exact text."""
    return [pb.Weight(variant=name, weight=plain(weight)) for name, weight in values.items()]


def timestamp(at: datetime | None) -> Timestamp | None:
    """Convert a moment; None stays unset."""
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def length(span: timedelta) -> Duration:
    """Convert a length of time."""
    made = Duration()
    made.FromTimedelta(span)
    return made


def rollout_status(
    state: State,
    last: Event | None,
    judgement: Judgement | None = None,
    trips: Iterable[Trip] = (),
) -> pb.RolloutStatus:
    """One rollout as it stands, with the guard's newest word on it."""
    return pb.RolloutStatus(
        name=state.name,
        generation=state.document.generation,
        revision=state.revision,
        declared=weights(state.document.weights),
        in_force=weights(state.in_force),
        retired=state.retired,
        killed=state.killed,
        changed_at=timestamp(state.changed_at),
        file=state.document.file,
        last_event=event(last) if last else None,
        progress=progress(state, judgement),
        held_out=map(_held_out, trips),
    )


def _held_out(trip: Trip) -> pb.HeldOut:
    made = pb.HeldOut(node=trip.node, variant=trip.variant, reason=trip.reason)
    # By the sidecar's clock, whatever that says.
    made.at.FromMilliseconds(min(max(trip.at_unix_ms, 0), _LATEST_MS))
    return made


def progress(state: State, word: Judgement | None) -> pb.Progress | None:
    """How far the launch is; None where there is none."""
    plan, stands = state.document.rollout.plan, state.progress
    if plan is None or stands is None:
        return None
    about_it = word if word and word.launch == stands.launch else None
    missing = waits(plan, stands, about_it, datetime.now(UTC)) if stands.phase in UNDER_WAY else ()
    return pb.Progress(
        phase=stands.phase.value,
        since=timestamp(stands.since),
        launch=stands.launch,
        step=stands.step,
        steps=len(plan.steps),
        began=timestamp(stands.began),
        held_until=timestamp(stands.held_until),
        hold_left=length(stands.hold_left) if stands.phase is Phase.PAUSED else None,
        strategy=plan.strategy,
        candidate=plan.candidate,
        why=stands.why,
        waits_for=[wait.sentence for wait in missing],
        judgement=judged(about_it) if about_it else None,
    )


def judged(word: Judgement) -> pb.Judgement:
    """What the guard said last."""
    return pb.Judgement(
        at=timestamp(word.at),
        verdict=word.verdict.value,
        sentence=word.sentence,
        samples=word.samples,
        readings=[
            pb.GuardrailReading(
                metric=one.metric,
                verdict=one.verdict.value,
                margin=one.margin,
                limit=one.limit,
                unit=one.unit,
                estimate=one.estimate,
                low=one.low,
                high=one.high,
                e_value=one.e_value,
                baseline_count=one.baseline_count,
                candidate_count=one.candidate_count,
                looks=one.looks,
                sentence=one.sentence,
            )
            for one in word.readings
        ],
        unjudged=[
            pb.Unjudged(node=one.node, why=one.why, count=one.count) for one in word.unjudged
        ],
    )


def event(happened: Event) -> pb.Event:
    """One line of the audit trail."""
    return pb.Event(
        at=timestamp(happened.origin.at),
        kind=happened.kind.value,
        who=happened.origin.who,
        why=happened.origin.why,
        before=weights(happened.before),
        after=weights(happened.after),
        phase=happened.phase.value if happened.phase else "",
        launch=happened.launch,
        step=happened.step,
        revision=happened.revision,
        generation=happened.generation,
        evidence=happened.evidence,
    )


def connection(sidecar: conversation.Conversation) -> pb.SidecarConnection:
    """One connected sidecar."""
    return pb.SidecarConnection(
        node=sidecar.node,
        connected_since=timestamp(sidecar.connected_since),
        acked_version=sidecar.acked_version,
        acked_at=timestamp(sidecar.acked_at),
        last_nack=refusal(sidecar.last_nack),
        identity=sidecar.identity,
        kept=sidecar.kept,
    )


def refusal(nack: conversation.Refusal | None) -> pb.Refusal | None:
    """Convert a refused table; None stays unset."""
    if nack is None:
        return None
    return pb.Refusal(at=timestamp(nack.at), version=nack.version, reason=nack.reason)


def controller_status(
    keeper: Keeper, sidecars: list[conversation.Conversation]
) -> pb.ControllerStatus:
    """Everything the controller knows."""
    return pb.ControllerStatus(
        version=keeper.snapshot.version if keeper.snapshot else "",
        rollouts=[
            rollout_status(
                state,
                keeper.last_events.get(name),
                keeper.judgements.get(name),
                keeper.trips_of(name),
            )
            for name, state in sorted(keeper.states.items())
        ],
        mistakes=[pb.FileMistake(file=m.file, message=m.message) for m in keeper.mistakes],
        withdraws_nothing=not keeper.seen_faultless,
        sidecars=[connection(sidecar) for sidecar in sorted(sidecars, key=lambda s: s.node)],
    )


def sidecar_status(client: Client) -> pb.SidecarStatus:
    """What the control stream's end knows; the rest of the status is its caller's."""
    return pb.SidecarStatus(
        control_stream=pb.ControlStreamStatus(
            address=client.address,
            connected=client.link.connected,
            since=timestamp(client.link.since),
            retries=client.backoff.retries,
            last_error=client.link.last_error,
        ),
        last_nack=refusal(client.last_nack),
        node=client.node,
    )


async def table_status(client: Client, decided: Decisions) -> pb.TableStatus | None:
    """The table in force, if there is one; `decided` are the engine's decisions since its start."""
    if client.holdings is None or client.table is None:
        return None
    status = pb.TableStatus(
        version=client.holdings.version,
        since=timestamp(client.table_since),
        source=client.source,
    )
    resources = client.holdings.resources
    obeyed = {name: route for name, (route, _) in client.routes.items()}
    many = len(resources) > MANY
    status.rollouts.extend(await off_loop_if(many, _table_rollouts, resources, obeyed, decided))
    return status


def _table_rollouts(
    resources: Mapping[str, Held],
    obeyed: Mapping[str, Route],
    tally: Decisions,
) -> list[pb.TableRollout]:
    decided: dict[str, list[pb.DecisionCount]] = {}
    for (name, variant, reason), count in sorted(tally.items()):
        one = pb.DecisionCount(variant=variant, reason=reason, count=count)
        decided.setdefault(name, []).append(one)
    return [
        pb.TableRollout(
            name=name,
            version=held.version,
            weights=[
                pb.Weight(variant=variant, weight=str(weight))
                for variant, weight in _weights(held, obeyed.get(name))
            ],
            decided=decided.get(name),
        )
        for name, held in sorted(resources.items())
    ]


def _weights(held: Held, obeyed: Route | None) -> list[tuple[str, int]]:
    if obeyed:
        return [(variant.name, variant.weight) for variant in obeyed.variants]
    return codec.weights(held.data)
