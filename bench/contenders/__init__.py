"""Who takes part in the benchmark: each one answers Envoy's ext_proc with the same decision.

A contender is one small class: a name, `start` (give the socket, get the process ids whose cost
counts), `stop`. `prepare` builds what must be built, or raises Missing with what to install.
README.md in bench/ says how to add one; `line_up` is the list.
"""

from bench.contenders.alone import Alone
from bench.contenders.base import TASK, Contender, Missing, Program, Task
from bench.contenders.canary import Canary, Observed
from bench.contenders.floor import Floor
from bench.contenders.grpc_aio import GrpcAio
from bench.contenders.grpc_cpp import GrpcCpp
from bench.contenders.grpc_go import GrpcGo
from bench.contenders.tonic import Tonic
from sidecar import extproc

__all__ = ["TASK", "Contender", "Missing", "Program", "Task", "by_name", "line_up"]


def line_up() -> list[Contender]:
    """Everybody who takes part unless told otherwise: Envoy alone, ours, others."""
    ours = [Canary(engine) for engine in extproc.ENGINES]
    return [Alone(), *ours, Floor(), GrpcCpp(), GrpcGo(), Tonic(), GrpcAio()]


def by_name() -> dict[str, Contender]:
    """Everybody who can take part: the line-up, and ours with 10,000 rollouts or everything on."""
    crowded = [Canary(engine, rollouts=10_000) for engine in extproc.ENGINES]
    observed = [Observed(engine) for engine in extproc.ENGINES]
    return {contender.name: contender for contender in [*line_up(), *crowded, *observed]}
