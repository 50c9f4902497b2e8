"""The floor: a bare nghttp2 and epoll loop in C that answers everybody the same.

Its answer is the one that our own native core gives one user, byte for byte, so that Envoy has as
much to do with it as with ours. It decides nothing: in the dialogue it must give that user's answer
to every question.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc

from bench.contenders import building
from bench.contenders.base import TASK, Program
from bench.lab.load import user
from bench.lab.process import LabError
from sidecar import rollout, routing

SOURCE = Path(__file__).parent / "floor.c"
MADE = building.BUILT / "floor"
FLAGS = (
    *["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow"],
    *["-Wstrict-prototypes", "-Werror"],
)


class Floor(Program):
    """One thread; what there is to answer is read from a file at its start."""

    name = "floor"
    answers_as: ClassVar[str | None] = user(0)

    def prepare(self) -> None:
        """Compile it, in under a second."""
        building.need_tool("cc", "gcc")
        nghttp2 = building.libraries(["libnghttp2"], "libnghttp2-dev")
        building.BUILT.mkdir(parents=True, exist_ok=True)
        if building.newer([SOURCE], MADE):
            building.build(["cc", *FLAGS, str(SOURCE), "-o", str(MADE), *nghttp2], SOURCE.parent)

    def command(self) -> Sequence[str]:
        """Return the program."""
        return [str(MADE)]

    def words(self, work: Path) -> Sequence[str]:
        """Say where the answer is, instead of the task."""
        path = work / "answer"
        path.write_bytes(answer(self.answers_as or ""))
        return ["--answer", str(path)]


def answer(unit: str) -> bytes:
    """Return what our native core answers one unit."""
    reading = rollout.read([rollout.Source("task.yaml", TASK.document().encode())])
    if reading.mistakes:
        raise LabError("\n".join(map(str, reading.mistakes)))
    [declared] = [one.rollout for one in reading.declared]
    route = routing.route_of(declared, {v.name: v.weight for v in declared.variants})
    version = routing.version_of({declared.name: "1"})
    headers = [core.HeaderValue(key=TASK.header, raw_value=unit.encode())]
    asked = ext_proc.HttpHeaders(headers=core.HeaderMap(headers=headers), end_of_stream=True)
    message = bytes(ext_proc.ProcessingRequest(request_headers=asked))
    return routing.Table(routing.compile_table([route], version)).answer(message)
