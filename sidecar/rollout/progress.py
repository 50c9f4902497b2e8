"""How a launch proceeds: the part of the document that sidecars never see.

Steps, guardrails, and what to do when nothing can be measured. The data path knows weights only;
the controller's delivery state machine reads this. What spans several fields is checked in
`launches`. "Not said" is each type's empty value, as in the rest of the document.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from sidecar.rollout import measures, texts

Strategy = Literal["canary", "blueGreen"]
NotMeasured = Literal["hold", "proceed", "rollback"]
Relaunch = Literal["reuse", "refresh"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Metric = Literal[
    "error_rate",
    "latency",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "latency_p999",
]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_STEPS = 100
MAX_GUARDRAILS = 20
MAX_NOTIFICATIONS = 10
WHOLE = Decimal(100)
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN


class Part(BaseModel):
    """A part of the document: closed, strict, immutable."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


class Gate(Part):
    """A webhook that must say yes before the step begins."""

    url: measures.Url = Field(
        description="Asked by POST with a JSON body; an answer of 2xx lets the step begin,"
        " anything else does not, and it is asked again.",
        examples=["https://ci.example.com/gates/chat"],
    )
    timeout: measures.Timeout = Field(
        default="10s",
        description="No answer for this long is a no; at most 1m. Absent: 10s.",
        examples=["10s"],
    )


class Window(Part):
    """When the launch may move into the step and on from it. Rollback never waits."""

    days: tuple[Day, ...] = Field(
        default=(),
        json_schema_extra={"maxItems": len(DAYS)},
        description="Days on which the window opens. Absent: every day.",
        examples=[["mon", "tue", "wed", "thu"]],
    )
    from_: measures.Clock = Field(
        default="00:00", alias="from", description="Opens. Absent: 00:00.", examples=["09:00"]
    )
    to: measures.Clock = Field(
        default="24:00",
        description="Closes; before 'from': on the next day. Absent: 24:00.",
        examples=["16:00"],
    )
    time_zone: measures.Zone = Field(
        default="UTC", description="Of the IANA database. Absent: UTC.", examples=["Europe/Berlin"]
    )


def _percent(value: Decimal) -> Decimal:
    if value > WHOLE:
        texts.refuse(f"is {value:f}, more than 100", "it is per cent of the traffic")
    return value


# No written gate or window is like these.
NO_GATE = Gate.model_construct(url="", timeout="10s")
NO_WINDOW = Window()


class Step(Part):
    """One stop on the way: how much the candidate gets, and what must be true to go on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weight": 5, "hold": "10m"}]})

    weight: Annotated[
        texts.Weight,
        AfterValidator(_percent),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100}),
    ] = Field(description="Per cent of the traffic for the candidate.", examples=[5])
    hold: measures.Duration = Field(
        default="0s",
        description="How long it stays at least. Absent: as long as the rest takes.",
        examples=["10m"],
    )
    min_samples: measures.Count = Field(
        default=0,
        description="Requests that the candidate must have answered in this step.",
        examples=[1000],
    )
    approval: bool = Field(
        default=False,
        description="Whether somebody must approve (`canary approve`) before the step begins.",
        examples=[True],
    )
    gate: Gate = Field(
        default=NO_GATE,
        description="A webhook that must say yes before the step begins.",
        examples=[{"url": "https://ci.example.com/gates/chat"}],
    )
    window: Window = Field(
        default=NO_WINDOW,
        description="When the launch may move into this step and on from it.",
        examples=[{"days": ["mon", "tue"], "from": "09:00", "to": "16:00"}],
    )

    @property
    def hold_time(self) -> timedelta:
        """How long the step lasts at least."""
        return measures.duration(self.hold)


class Guardrail(Part):
    """A metric that must not become worse: by how much than the baseline's, or than a limit."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"metric": "error_rate", "maxIncrease": "0.5pp"}]}
    )

    metric: Metric = Field(
        description="error_rate: requests that failed; latency: the whole distribution;"
        " latency_pNN: a quantile.",
        examples=["error_rate"],
    )
    max_increase: measures.Measure = Field(
        default="",
        description="How much worse than the baseline is still well: pp (percentage points), % (of"
        " the baseline's), ms or s.",
        examples=["0.5pp"],
    )
    limit: measures.Measure = Field(
        default="",
        description="A hard limit, whatever the baseline does: % of requests, or ms or s.",
        examples=["5%"],
    )
    weight: Annotated[
        texts.Weight, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1000000000})
    ] = Field(
        default=Decimal(1),
        description="Its share of the rollout's error budget, relative to the others. Absent: 1.",
        examples=[1],
    )
    min_samples: measures.Count = Field(
        default=0,
        description="Requests of each side below which nothing counts as measured.",
        examples=[100],
    )

    @property
    def margin(self) -> measures.Margin | None:
        """How much worse than the baseline it may be; None if only the limit counts."""
        return measures.Margin.of(self.max_increase) if self.max_increase else None

    @property
    def hard_limit(self) -> measures.Margin | None:
        """What it may never exceed; None if there is no such limit."""
        return measures.Margin.of(self.limit) if self.limit else None

    @property
    def quantile(self) -> Decimal | None:
        """The quantile that is meant: latency_p99 is 0.99, latency_p999 is 0.999."""
        _, found, digits = self.metric.partition("_p")
        return Decimal(f"0.{digits}") if found else None


class Notification(Part):
    """Who is told of every change of phase: exactly one of these fields."""

    model_config = ConfigDict(
        json_schema_extra={
            "minProperties": 1,
            "maxProperties": 1,
            "examples": [{"webhookFile": "/etc/canary/slack-url"}],
        }
    )

    webhook: measures.Url = Field(
        default="",
        description='Gets a POST of {"text": ...}, as Slack takes it.',
        examples=["https://hooks.example.com/chat"],
    )
    webhook_file: measures.SecretFile = Field(
        default="",
        description="A file on the controller that holds such an address, where it is a secret.",
        examples=["/etc/canary/slack-url"],
    )


def canonical(spec: Any) -> dict[str, Any]:
    """Write what a spec says about the launch, one spelling each; {} if it says nothing.

    Only what is said, so that a document without steps keeps the generation it always had.
    """
    said: dict[str, Any] = spec.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, include=FIELDS
    )
    return said


FIELDS = {
    "strategy",
    "candidate",
    "steps",
    "guardrails",
    "on_not_measured",
    "relaunch",
    "notifications",
}


class Proceeding(Part):
    """The fields of a spec that say how its launch proceeds."""

    strategy: Strategy = Field(
        default="canary",
        description="canary: step by step; blueGreen: one switch, with the way back open.",
        examples=["blueGreen"],
    )
    candidate: Annotated[str, AfterValidator(texts.label), texts.LABEL] = Field(
        default="",
        description="The variant that the steps bring in. Absent: the one beside the baseline.",
        examples=["canary"],
    )
    steps: tuple[Step, ...] = Field(
        default=(),
        json_schema_extra={"minItems": 1, "maxItems": MAX_STEPS},
        description="The way from nobody to everybody. Absent: weights move by hand.",
        examples=[[{"weight": 5, "hold": "10m"}, {"weight": 100}]],
    )
    guardrails: tuple[Guardrail, ...] = Field(
        default=(),
        json_schema_extra={"minItems": 1, "maxItems": MAX_GUARDRAILS},
        description="What must not become worse, or the candidate is taken out.",
        examples=[[{"metric": "error_rate", "maxIncrease": "0.5pp"}]],
    )
    on_not_measured: NotMeasured = Field(
        default="hold",
        description="When a step's time is over and its guardrails could not be measured: hold (and"
        " say so), proceed, or rollback. Absent: hold.",
        examples=["hold"],
    )
    relaunch: Relaunch = Field(
        default="reuse",
        description="Whether the next launch meets the same people first (reuse), or others"
        " (refresh). Absent: reuse.",
        examples=["refresh"],
    )
    notifications: tuple[Notification, ...] = Field(
        default=(),
        json_schema_extra={"minItems": 1, "maxItems": MAX_NOTIFICATIONS},
        description="Who is told of every change of phase.",
        examples=[[{"webhookFile": "/etc/canary/slack-url"}]],
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What delivery needs of a document: who comes in, by which steps, on which terms."""

    strategy: Strategy
    baseline: str
    candidate: str
    steps: tuple[Step, ...]
    guarded: bool
    on_not_measured: NotMeasured
    relaunch: Relaunch


def plan_of(spec: Any) -> Plan | None:
    """Return the plan of a faultless spec; None if its weights move by hand."""
    steps: tuple[Step, ...] = spec.steps
    if not steps and spec.strategy == "blueGreen":
        steps = (Step(weight=WHOLE),)
    if not steps:
        return None
    return Plan(
        spec.strategy,
        spec.variants[0].name,
        spec.candidate or spec.variants[1].name,
        steps,
        bool(spec.guardrails),
        spec.on_not_measured,
        spec.relaunch,
    )


def is_open(window: Window, now: datetime) -> bool:
    """Whether the window is open at `now` (an aware moment), by the clocks of its zone."""
    if not window.model_fields_set:
        return True
    zone = measures.zone(window.time_zone)
    local = now.astimezone(zone)
    minute = (local.weekday() * 24 + local.hour) * 60 + local.minute
    return bool(open_minutes(window) >> minute & 1)


@lru_cache(maxsize=256)
def open_minutes(window: Window) -> int:
    """Return the minutes of a week, from Monday 00:00, in which the window is open, as bits."""
    begin, end = measures.minute_of(window.from_), measures.minute_of(window.to)
    length = (end - begin) % DAY_MIN if begin % DAY_MIN != end % DAY_MIN else end - begin
    made = 0
    for day in window.days or DAYS:
        block = ((1 << length) - 1) << (DAYS.index(day) * DAY_MIN + begin)
        made |= (block | block >> WEEK_MIN) & ((1 << WEEK_MIN) - 1)
    return made
