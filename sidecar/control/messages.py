"""Our own values as `canary.v1` messages, for the replies of both services."""

from collections.abc import Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.control import conversation
from sidecar.control.client import Client
from sidecar.control.keeper import Keeper
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
        sidecars=[connection(sidecar) for sidecar in sorted(sidecars, key=lambda s: s.node)],
    )


def sidecar_status(
    client: Client, engine: str, counters: Mapping[str, int], *, ready: bool
) -> pb.SidecarStatus:
    """Everything the sidecar knows."""
    return pb.SidecarStatus(
        ready=ready,
        engine=engine,
        table=_table(client),
        control_stream=pb.ControlStreamStatus(
            address=client.address,
            connected=client.link.connected,
            since=timestamp(client.link.since),
            retries=client.backoff.retries,
            last_error=client.link.last_error,
        ),
        last_nack=refusal(client.last_nack),
        counters=counters,
        node=client.node,
    )


def _table(client: Client) -> pb.TableStatus | None:
    if client.holdings is None:
        return None
    held = client.holdings.resources.values()
    return pb.TableStatus(
        version=client.holdings.version,
        since=timestamp(client.table_since),
        source=client.source,
        rollouts=[
            pb.TableRollout(
                name=one.route.name,
                version=one.version,
                weights=[
                    pb.Weight(variant=v.name, weight=str(v.weight)) for v in one.route.variants
                ],
            )
            for one in sorted(held, key=lambda one: one.route.name)
        ],
    )
