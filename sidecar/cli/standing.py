"""What the running processes' own state tells the doctor: findings from `canary.v1` messages.

An address that nobody answers at arrives here as the CanaryError that says so.
"""

from collections.abc import Iterator

from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError
from sidecar.extproc.findings import Finding

Sidecar = pb.SidecarStatus | CanaryError
Controller = pb.ControllerStatus | CanaryError


def judged(sidecar: Sidecar, controller: Controller) -> Iterator[Finding]:
    """Judge both sides, and what they have in common."""
    if isinstance(controller, CanaryError):
        yield _unanswered(
            "controller", controller, "weights cannot move; sidecars keep what they have"
        )
    else:
        yield from _controller(controller)
    if isinstance(sidecar, CanaryError):
        yield _unanswered("sidecar", sidecar, "every request gets the baseline if it is down")
        return
    yield from _sidecar(sidecar)
    if not isinstance(controller, CanaryError):
        yield from _behind(sidecar, controller)


def in_step(sidecar: Sidecar, controller: Controller) -> bool:
    """Whether nothing can be under way from one to the other."""
    if isinstance(sidecar, CanaryError) or isinstance(controller, CanaryError):
        return True
    # Where nothing is withdrawn, the sidecar may hold more than the controller's table.
    return controller.withdraws_nothing or bool(sidecar.table.version == controller.version)


def _unanswered(who: str, error: CanaryError, meaning: str) -> Finding:
    return Finding(f"{who}-unreachable", who, f"{error.args[0]}: {meaning}", error.remedy)


def _sidecar(status: pb.SidecarStatus) -> Iterator[Finding]:
    where = f"sidecar {status.node}"
    if not status.ready:
        yield Finding(
            "sidecar-not-ready",
            where,
            "it has no routing table, or is draining: every request gets the baseline",
            "let it reach its controller once: see the control stream in `canary status`",
        )
    stream = status.control_stream
    if not stream.connected:
        yield Finding(
            "stream-down",
            where,
            f"no control stream from {stream.address} "
            f"({stream.last_error.partition(':')[0] or 'no answer yet'}): its table stays as it is",
            "start the controller there, or say where it is with --control or CANARY_CONTROL; "
            "`canary status` shows the whole error",
        )
    for one in status.forwarding.unseen:
        yield Finding(
            "input-unseen",
            where,
            f"its Envoy says that it does not forward {one.what}, and rollout {one.rollout!r}"
            f"{f' (and {one.rollouts - 1} more)' if one.rollouts > 1 else ''} looks there",
            "forward it (`canary envoy` makes what fits), or change the rollout",
        )
    if _pending(status):
        nack = status.last_nack
        yield Finding(
            "table-refused",
            where,
            f"it refused table {nack.version} and keeps {status.table.version or 'none'}: "
            f"{nack.reason}",
            "mend the rollout that the reason names, or upgrade the sidecar",
        )


def _pending(status: pb.SidecarStatus) -> bool:
    """Whether nothing was taken since the last refusal."""
    if not status.HasField("last_nack"):
        return False
    if not status.HasField("table"):
        return True
    return bool(status.last_nack.at.ToNanoseconds() > status.table.since.ToNanoseconds())


def _controller(status: pb.ControllerStatus) -> Iterator[Finding]:
    for mistake in status.mistakes:
        message, _, remedy = mistake.message.partition("\n  remedy: ")
        yield Finding(
            "files-refused",
            f"controller, {mistake.file}",
            f"the last good document stays in force: {message}",
            remedy or "mend the file",
        )


def _behind(sidecar: pb.SidecarStatus, controller: pb.ControllerStatus) -> Iterator[Finding]:
    has, wants = sidecar.table.version, controller.version
    if sidecar.ready and not in_step(sidecar, controller) and not _pending(sidecar):
        yield Finding(
            "table-behind",
            f"sidecar {sidecar.node}",
            f"it has table {has}, the controller wants {wants}",
            "see the control stream in `canary status`: is this its controller?",
        )
