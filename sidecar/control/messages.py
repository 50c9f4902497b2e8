"""Our own values as `canary.v1` messages, for the replies of both services."""

from collections.abc import Collection, Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.control import conversation
from sidecar.control.client import Client
from sidecar.control.following import Held
from sidecar.control.keeper import Keeper
from sidecar.control.offload import MANY, off_loop_if
from sidecar.control.pb import control_pb2 as pb
from sidecar.delivery import Event, State, Weights, plain


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


def rollout_status(state: State, last: Event | None) -> pb.RolloutStatus:
    """One rollout as it stands."""
    return pb.RolloutStatus(
        name=state.name,
        generation=state.document.generation,
        revision=state.revision,
        declared=weights(state.document.weights),
        in_force=weights(state.in_force),
        retired=state.retired,
        changed_at=timestamp(state.changed_at),
        file=state.document.file,
        last_event=event(last) if last else None,
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
            rollout_status(state, keeper.last_events.get(name))
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


async def table_status(client: Client) -> pb.TableStatus | None:
    """The table in force, if there is one."""
    if client.holdings is None or client.table is None:
        return None
    status = pb.TableStatus(
        version=client.holdings.version,
        since=timestamp(client.table_since),
        source=client.source,
    )
    routes, tally = client.holdings.resources.values(), client.table.tally()
    status.rollouts.extend(await off_loop_if(len(routes) > MANY, _table_rollouts, routes, tally))
    return status


def _table_rollouts(
    resources: Collection[Held], tally: Mapping[tuple[str, str, str], int]
) -> list[pb.TableRollout]:
    decided: dict[str, list[pb.DecisionCount]] = {}
    for (name, variant, reason), count in sorted(tally.items()):
        one = pb.DecisionCount(variant=variant, reason=reason, count=count)
        decided.setdefault(name, []).append(one)
    return [
        pb.TableRollout(
            name=held.route.name,
            version=held.version,
            weights=[pb.Weight(variant=v.name, weight=str(v.weight)) for v in held.route.variants],
            decided=decided.get(held.route.name),
        )
        for held in sorted(resources, key=lambda held: held.route.name)
    ]
