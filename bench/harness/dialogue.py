"""The same requests to everybody, the right answer from everybody, before anything is measured.

What is right comes from the lab's oracle (written from the contract, sharing no code with the
product): the route taken, the header, and the whole metadata except the table's version.
"""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import mmh3

from bench.contenders.base import TASK
from bench.harness import scene
from bench.lab import oracle
from bench.lab.load import user
from bench.lab.process import LabError
from sidecar.rollout.names import RESERVED_PREFIX

USERS = 64
# Not ASCII, long, and with characters that parsers stumble over.
ODD_USERS = ("a b", "Ä-ö-ü", "x" * 500, "0", "=;,&%")
SPOOF = {f"{RESERVED_PREFIX}{TASK.rollout}": "canary"}


class WrongAnswerError(LabError):
    """A contender decided, or said, something else than the contract."""


@dataclass(frozen=True)
class Question:
    """One request; an empty unit is a request without a user."""

    unit: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """Who must answer."""
        share = oracle.share(TASK.percent, 100)
        inside = self.unit and oracle.in_canary(TASK.salt, self.unit, share)
        return TASK.candidate if inside else TASK.baseline

    @property
    def decided(self) -> dict[str, str]:
        """What the metadata must say, version aside."""
        if not self.unit:
            return {"variant": self.variant, "reason": "no_unit"}
        second = mmh3.hash128(TASK.salt.encode() + b"\0" + self.unit.encode()) >> 64
        return {"variant": self.variant, "reason": "weight", "unit": f"{second:016x}"}


def questions() -> Iterator[Question]:
    """Users of both variants, odd ones, nobody, and clients that try to choose."""
    for name in [*map(user, range(USERS)), *ODD_USERS, ""]:
        yield Question(name)
    yield Question("", SPOOF)
    yield Question(user(0), SPOOF)
    yield Question(user(1), SPOOF)


def hold(address: str, answers_as: str | None = None) -> int:
    """Ask everything at `host:port`; return how many answers were right: all of them.

    With `answers_as` everybody must get the answer of that unit, whoever asks. Raises
    WrongAnswerError with the first that was not right.
    """
    fixed = None if answers_as is None else Question(answers_as)
    connection = http.client.HTTPConnection(address, timeout=5.0)
    asked = 0
    try:
        for question in questions():
            _check(question, fixed or question, _ask(connection, question))
            asked += 1
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no answer after {asked} questions: {error!r}") from error
    finally:
        connection.close()
    return asked


def _ask(connection: http.client.HTTPConnection, question: Question) -> dict[str, str]:
    headers = dict(question.headers)
    if question.unit:
        # http.client writes latin-1; what arrives are the unit's own bytes.
        headers[TASK.header] = question.unit.encode().decode("latin-1")
    connection.request("GET", scene.TOLD, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return {"status": str(answer.status), **{k.lower(): v for k, v in answer.getheaders()}}


def _check(question: Question, right: Question, answer: dict[str, str]) -> None:
    decided = json.loads(answer.get(scene.DECIDED, "null")) or {}
    version = decided.pop("version", "")
    expected = ("200", right.variant, right.variant, right.decided, True)
    seen = (
        answer["status"],
        answer.get(scene.ANSWERED_BY),
        answer.get(scene.HEADER_SEEN),
        decided,
        bool(version),
    )
    if seen != expected:
        names = "status, route, header, metadata, versioned"
        raise WrongAnswerError(f"unit {question.unit!r}: ({names}) should be {expected}, is {seen}")
