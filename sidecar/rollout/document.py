"""The Rollout document as a model, and the JSON Schema made from it.

A Rollout is what a document says with every text checked and normalised; the properties of
`Rollout` fill in what it leaves out. Lengths of lists and what spans several fields are checked in
`combinations`: the model would stop counting mistakes there. So `read` alone makes Rollouts.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache, cached_property, lru_cache
from typing import Any, Literal

from pydantic import ConfigDict, Field

from sidecar.rollout import names, progress, rules, texts
from sidecar.rollout.progress import Part as _Part

SourceKind = Literal["header", "cookie", "query", "client_address"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Metadata(_Part):
    """Who the rollout is; labels and annotations are other tools' and mean nothing here."""

    name: texts.RolloutName = Field(
        description="Names the rollout and its header, x-canary-<name>.", examples=["chat-model"]
    )
    labels: dict[str, str] = Field(default={}, description="Not read.", examples=[{"team": "chat"}])
    annotations: dict[str, str] = Field(
        default={}, description="Not read.", examples=[{"example.com/owner": "chat"}]
    )


class Match(_Part):
    """Which requests the rollout speaks for."""

    hosts: tuple[texts.Host, ...] = Field(
        default=(),
        json_schema_extra={"maxItems": names.MAX_HOSTS},
        description="Hosts without port; *.example.com is every name below example.com."
        " Absent: every host.",
        examples=[["chat.example.com", "*.chat.example.com"]],
    )
    path_prefix: texts.PathPrefix = Field(
        default="",
        description="Whole path segments: /v1 matches /v1 and /v1/chat, not /v10. Absent:"
        " every path.",
        examples=["/v1/chat"],
    )


class UnitSource(_Part):
    """One place of a request to look for the unit: exactly one of these fields."""

    model_config = ConfigDict(
        json_schema_extra={
            "minProperties": 1,
            "maxProperties": 1,
            "examples": [{"header": "x-user-id"}],
        }
    )

    header: texts.HeaderName = Field(
        default="", description="A request header, in any case.", examples=["x-user-id"]
    )
    cookie: texts.Token = Field(default="", description="A cookie.", examples=["session"])
    query: texts.Token = Field(default="", description="A query parameter.", examples=["user"])
    client_address: texts.ClientAddress = Field(
        default=False, description="The client's address without its port.", examples=[True]
    )

    @property
    def kind(self) -> SourceKind:
        """What kind of place it is."""
        if self.header:
            return "header"
        if self.cookie:
            return "cookie"
        return "query" if self.query else "client_address"

    @property
    def name(self) -> str:
        """Return the name to look for; headers in lower case; "" for the client's address."""
        return self.header or self.cookie or self.query


class Variant(_Part):
    """One version of the service."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "canary", "weight": 5}]})

    name: texts.VariantName = Field(
        description="Names the variant; the value of the header.", examples=["stable"]
    )
    weight: texts.Weight = Field(
        description=f"Its share, relative to the others; at most {names.MAX_WEIGHT_DECIMALS}"
        " decimals. Only the ratios count.",
        examples=[95],
    )
    cluster: texts.Cluster = Field(
        default="",
        description="The Envoy cluster that serves it. Absent: <rollout>-<variant>.",
        examples=["chat-model-stable"],
    )


class Spec(rules.Ruling, progress.Proceeding):
    """How requests are shared out, who is an exception, and how a launch proceeds."""

    assignment: Literal["v1"] = Field(
        default="v1",
        description="How a unit becomes a variant; a version never changes its answers.",
        examples=["v1"],
    )
    match: Match = Field(
        default=Match(),
        description="Which requests the rollout speaks for. Absent: all.",
        examples=[{"hosts": ["chat.example.com"], "pathPrefix": "/v1/chat"}],
    )
    unit: tuple[UnitSource, ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_SOURCES},
        description="What stays sticky: the first source present in a request gives the unit.",
        examples=[[{"header": "x-user-id"}]],
    )
    salt: texts.Salt = Field(
        default="",
        description="Same salt, same cohort; another salt assigns everybody anew."
        " Absent: the name.",
        examples=["chat-model-2026"],
    )
    variants: tuple[Variant, ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_VARIANTS},
        description="The first is the baseline. Slots go by order: set a variant that is done to"
        " weight 0 rather than remove it.",
        examples=[[{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}]],
    )


class Rollout(_Part):
    """A launch as declared: who is asked, what stays sticky, which variants share the traffic.

    Immutable; `generation` is its identity. Made by `read` alone.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "description": "A launch: who is asked, what stays sticky, who gets what."
        }
    )

    api_version: Literal["canary.dev/v1"] = Field(examples=["canary.dev/v1"])
    kind: Literal["Rollout"] = Field(examples=["Rollout"])
    metadata: Metadata = Field(examples=[{"name": "chat-model"}])
    spec: Spec = Field(
        examples=[
            {
                "unit": [{"header": "x-user-id"}],
                "variants": [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}],
            }
        ]
    )

    @property
    def name(self) -> str:
        """The name, a DNS label."""
        return self.metadata.name

    @property
    def assignment(self) -> str:
        """The assignment version."""
        return self.spec.assignment

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts in lower case; none means every host."""
        return self.spec.match.hosts

    @property
    def path_prefix(self) -> str:
        """Whole segments without a trailing slash; "" means every path."""
        return self.spec.match.path_prefix

    @property
    def unit(self) -> tuple[UnitSource, ...]:
        """Where to look for the unit, in this order."""
        return self.spec.unit

    @property
    def salt(self) -> str:
        """The salt; the name where the document has none."""
        return self.spec.salt or self.name

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The variants, each with its cluster; the first is the baseline."""
        return tuple(
            one if one.cluster else one.model_copy(update={"cluster": f"{self.name}-{one.name}"})
            for one in self.spec.variants
        )

    @cached_property
    def plan(self) -> progress.Plan | None:
        """How its launch proceeds; None if weights move by hand."""
        return progress.plan_of(self.spec)


@cache
def _published() -> dict[str, Any]:
    made = Rollout.model_json_schema(by_alias=True)
    inlined = _inline(made, made["$defs"])
    return {"$schema": _DIALECT, "title": "Rollout", **inlined}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of one document, as `canary schema` prints it; the caller's own."""
    return deepcopy(_published())


@lru_cache(maxsize=1024)
def describe(loc: tuple[str | int, ...]) -> Mapping[str, Any]:
    """Return the schema of the value at `loc`; {} where the document knows no such field."""
    node: Any = _published()
    for step in loc:
        if isinstance(step, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(step) or node.get("additionalProperties") or {}
    return node if isinstance(node, dict) else {}


_NESTED = "#/$defs/Condition"


def _inline(node: dict[str, Any], defs: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Write references out (a CRD has none) and drop titles and the stand-ins for 'not said'.

    Conditions hold conditions: they are written out as deep as a document may nest them.
    """
    if "$ref" in node:
        depth += node["$ref"] == _NESTED
        node = {**defs[node["$ref"].rpartition("/")[2]], **node}
    left_out = ("$ref", "$defs", "title", "default")
    plain = {key: value for key, value in node.items() if key not in left_out}
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]  # which a CRD has
    if "properties" in plain:
        plain["properties"] = {
            name: _inline(value, defs, depth)
            for name, value in plain["properties"].items()
            if depth < names.MAX_WRITTEN_DEPTH or not _nests(value)
        }
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = _inline(plain[key], defs, depth)
    return plain


def _nests(node: Mapping[str, Any]) -> bool:
    return _NESTED in (node.get("$ref"), node.get("items", {}).get("$ref"))


def canonical(rollout: Rollout) -> dict[str, Any]:
    """Write the rollout with every default spelled out and every spelling normalised.

    Weights are text, exact; labels and annotations are left out. Hosts are sorted: their order
    means nothing.
    """
    return {
        "apiVersion": rollout.api_version,
        "kind": rollout.kind,
        "metadata": {"name": rollout.name},
        "spec": {
            "assignment": rollout.assignment,
            "match": {"hosts": sorted(rollout.hosts), "pathPrefix": rollout.path_prefix or "/"},
            "unit": [_source(source) for source in rollout.unit],
            "salt": rollout.salt,
            "variants": [
                {"name": one.name, "weight": f"{one.weight:f}", "cluster": one.cluster}
                for one in rollout.variants
            ],
            **progress.canonical(rollout.spec),
            **rules.canonical(rollout.spec),
        },
    }


def _source(source: UnitSource) -> dict[str, Any]:
    return {"clientAddress": True} if source.client_address else {source.kind: source.name}
