"""Who gets what beside the weights: the part of the document that names people and conditions.

What spans several fields is checked in `targets` (one document) and `neighbours` (several).
"""

from decimal import Decimal
from typing import Any

from pydantic import ConfigDict, Field

from sidecar.rollout import names, rule_texts, texts
from sidecar.rollout.progress import Part

# Not said; never a written value, and so not in the types.
_ABSENT: Any = None
FIELDS = {"holdout", "exclude", "requires", "overrides", "layer", "segments"}


class Metadata(Part):
    """A value of Envoy's dynamic metadata, such as a claim that jwt_authn verified."""

    filter: rule_texts.Key = Field(
        description="The filter that wrote it.", examples=["envoy.filters.http.jwt_authn"]
    )
    path: tuple[rule_texts.Key, ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_KEYS},
        description="The keys that lead to the value. A list's entries count one by one.",
        examples=[["payload", "tier"]],
    )


class NumberRange(Part):
    """A range of numbers; a value that is no number is in none."""

    above: rule_texts.Number = Field(default=_ABSENT, description="Greater.", examples=[0])
    at_least: rule_texts.Number = Field(
        default=_ABSENT, description="Greater or equal.", examples=[18]
    )
    below: rule_texts.Number = Field(default=_ABSENT, description="Less.", examples=[65])
    at_most: rule_texts.Number = Field(default=_ABSENT, description="Less or equal.", examples=[64])


class VersionRange(Part):
    """A range of semantic versions, by their precedence; 1.0.0-rc.1 is below 1.0.0."""

    above: rule_texts.Version = Field(default="", description="Later.", examples=["2.1.0"])
    at_least: rule_texts.Version = Field(
        default="", description="This one or later.", examples=["2.1.0"]
    )
    below: rule_texts.Version = Field(default="", description="Earlier.", examples=["3.0.0-0"])
    at_most: rule_texts.Version = Field(
        default="", description="This one or earlier.", examples=["2.99.0"]
    )


class DateRange(Part):
    """A range of moments, RFC 3339 with their offset; neither end belongs to it."""

    after: rule_texts.Date = Field(
        default="", description="Later than this.", examples=["2026-01-01T00:00:00Z"]
    )
    before: rule_texts.Date = Field(
        default="", description="Earlier than this.", examples=["2027-01-01T00:00:00Z"]
    )


_EXAMPLE: Any = {"header": "x-country", "in": ["de", "fr"]}


class Condition(Part):
    """One input with one operator, or conditions within `not`, `allOf` or `anyOf`."""

    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "maxProperties": 2, "examples": [_EXAMPLE]}
    )

    header: texts.HeaderName = Field(
        default="", description="A request header, in any case.", examples=["x-country"]
    )
    cookie: texts.Token = Field(default="", description="A cookie.", examples=["tier"])
    query: texts.Token = Field(default="", description="A query parameter.", examples=["beta"])
    path: rule_texts.There = Field(
        default=False, description="The path, without the query.", examples=[True]
    )
    method: rule_texts.There = Field(default=False, description="The method.", examples=[True])
    host: rule_texts.There = Field(
        default=False, description="The host, lower case, without its port.", examples=[True]
    )
    client_address: rule_texts.There = Field(
        default=False, description="The client's address without its port.", examples=[True]
    )
    metadata: Metadata = Field(
        default=_ABSENT,
        description="A value that a filter of Envoy found out, such as a verified claim.",
        examples=[{"filter": "envoy.filters.http.jwt_authn", "path": ["payload", "tier"]}],
    )
    attribute: rule_texts.Attribute = Field(
        default="", description="An attribute of Envoy's.", examples=["connection.mtls"]
    )
    exact: rule_texts.Value = Field(default="", description="Equals.", examples=["de"])
    in_: tuple[rule_texts.Value, ...] = Field(
        default=(),
        alias="in",
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_LISTED},
        description="Equals one of these.",
        examples=[["de", "fr"]],
    )
    prefix: rule_texts.Value = Field(default="", description="Begins with.", examples=["Mozilla/"])
    suffix: rule_texts.Value = Field(
        default="", description="Ends with.", examples=["@example.com"]
    )
    contains: rule_texts.Value = Field(default="", description="Contains.", examples=["Mobile"])
    regex: rule_texts.Regex = Field(
        default="",
        description="The whole value matches this expression of RE2; .* stands for the rest.",
        examples=["(?i)de|fr"],
    )
    present: bool = Field(
        default=_ABSENT, description="There and not empty; false: not there.", examples=[True]
    )
    number: NumberRange = Field(
        default=_ABSENT, description="A number in this range.", examples=[{"atLeast": 18}]
    )
    semver: VersionRange = Field(
        default=_ABSENT,
        description="A semantic version in this range.",
        examples=[{"atLeast": "2.1.0"}],
    )
    date: DateRange = Field(
        default=_ABSENT,
        description="A moment in this range.",
        examples=[{"after": "2026-01-01T00:00:00Z"}],
    )
    cidr: tuple[rule_texts.Network, ...] = Field(
        default=(),
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_LISTED},
        description="An IP address in one of these networks.",
        examples=[["10.0.0.0/8", "2001:db8::/32"]],
    )
    not_: "Condition" = Field(
        default=_ABSENT,
        alias="not",
        description="Does not hold.",
        examples=[_EXAMPLE],
    )
    all_of: tuple["Condition", ...] = Field(
        default=(),
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_CONDITIONS},
        description="Every one holds.",
        examples=[[_EXAMPLE]],
    )
    any_of: tuple["Condition", ...] = Field(
        default=(),
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_CONDITIONS},
        description="At least one holds.",
        examples=[[_EXAMPLE]],
    )


INPUTS = (
    "header", "cookie", "query", "path", "method", "host", "clientAddress", "metadata", "attribute",
)  # fmt: skip
OPERATORS = (
    "exact", "in", "prefix", "suffix", "contains", "regex", "present", "number", "semver", "date",
    "cidr",
)  # fmt: skip
NESTING = ("not", "allOf", "anyOf")


class Segment(Part):
    """Some of the people, and what they get: one variant outright, or weights of their own."""

    name: texts.VariantName = Field(
        description="Names the segment in metadata and metrics: segment:<name>.", examples=["staff"]
    )
    when: tuple[Condition, ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_CONDITIONS},
        description="All of these hold.",
        examples=[[{"header": "x-email", "suffix": "@example.com"}]],
    )
    variant: texts.VariantName = Field(
        default="", description="What they all get.", examples=["canary"]
    )
    weights: dict[str, texts.Weight] = Field(
        default={},
        description="Weights by variant; who is not named gets 0, the baseline the rest of 100.",
        examples=[{"canary": 10}],
    )
    salt: texts.Salt = Field(
        default="",
        description="Draws them on a hash line of their own. Absent: on the rollout's, so that who"
        " is in by smaller weights is in by larger ones.",
        examples=["eu-2026"],
    )


class Override(Part):
    """Units that get a variant by name."""

    variant: texts.VariantName = Field(description="What they get.", examples=["canary"])
    units: tuple[rule_texts.Value, ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_UNITS},
        description="The units, as requests carry them.",
        examples=[["u42", "u43"]],
    )


class Holdout(Part):
    """A share of the people that never sees the launch, the same in every rollout that names it."""

    name: texts.VariantName = Field(
        description="Same name, same people, in every rollout.", examples=["global-2026"]
    )
    percent: rule_texts.Share = Field(description="How many, in percent.", examples=[5])


class Layer(Part):
    """A slice of a line that several rollouts share, so that nobody is in two of them."""

    name: texts.VariantName = Field(
        description="The layer; its rollouts share no unit.", examples=["checkout"]
    )
    from_: rule_texts.Percent = Field(
        default=Decimal(0),
        alias="from",
        description="Where the slice begins, in percent. Absent: 0.",
        examples=[0],
    )
    to: rule_texts.Share = Field(description="Where it ends, in percent.", examples=[30])


class Requirement(Part):
    """Another rollout that has to give the same request one of these variants."""

    rollout: texts.RolloutName = Field(description="The other rollout.", examples=["api-v2"])
    variants: tuple[texts.VariantName, ...] = Field(
        json_schema_extra={"minItems": 1, "maxItems": names.MAX_VARIANTS},
        description="Any of these will do.",
        examples=[["canary"]],
    )


class Ruling(Part):
    """The fields of a spec that name people and conditions."""

    holdout: Holdout = Field(
        default=_ABSENT,
        description="A share of the people that never sees the launch.",
        examples=[{"name": "global-2026", "percent": 5}],
    )
    exclude: tuple[rule_texts.Value, ...] = Field(
        default=(),
        json_schema_extra={"maxItems": names.MAX_UNITS},
        description="Units that always get the baseline.",
        examples=[["big-customer"]],
    )
    requires: tuple[Requirement, ...] = Field(
        default=(),
        json_schema_extra={"maxItems": names.MAX_REQUIRES},
        description="Other rollouts that must have answered so, or everybody gets the baseline.",
        examples=[[{"rollout": "api-v2", "variants": ["canary"]}]],
    )
    overrides: tuple[Override, ...] = Field(
        default=(),
        json_schema_extra={"maxItems": names.MAX_OVERRIDES},
        description="Units that get a variant by name.",
        examples=[[{"variant": "canary", "units": ["u42"]}]],
    )
    layer: Layer = Field(
        default=_ABSENT,
        description="Rollouts of one layer share nobody.",
        examples=[{"name": "checkout", "from": 0, "to": 30}],
    )
    segments: tuple[Segment, ...] = Field(
        default=(),
        json_schema_extra={"maxItems": names.MAX_SEGMENTS},
        description="The first one whose conditions hold decides; else the weights above.",
        examples=[
            [
                {
                    "name": "staff",
                    "when": [{"header": "x-email", "suffix": "@example.com"}],
                    "weights": {"canary": 100},
                }
            ]
        ],
    )


def canonical(spec: Any) -> dict[str, Any]:
    """Write what a spec says of people, one spelling each; {} if it says nothing.

    Only what is said, so that a document without rules keeps the generation it always had.
    """
    said: dict[str, Any] = spec.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, include=FIELDS
    )
    return {field: value for field, value in said.items() if value}
