"""What can be wrong with steps, windows and guardrails, each with its line and its remedy."""

import jsonschema
import pytest
import yaml

from sidecar.rollout import Source, generation, read, schema

# Each case changes one line of this, so that the line of its mistake is known by heart.
GOOD = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 1}, {name: canary, weight: 0}, {name: old, weight: 0}]
  candidate: canary
  steps:
    - {weight: 5, hold: 2h, minSamples: 100}
    - {weight: 25, window: {days: [mon, tue], from: "09:00", to: "17:00", timeZone: Europe/Berlin}}
    - {weight: 100, approval: true, gate: {url: "https://ci.example.com/go", timeout: 5s}}
  guardrails:
    - {metric: error_rate, maxIncrease: 0.5pp, limit: 5%}
    - {metric: latency_p99, maxIncrease: 20%}
  onNotMeasured: hold
  notifications: [{webhook: "https://hooks.example.com/s3cret"}, {webhookFile: /etc/hook}]
"""


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def mistakes(text: str):
    found = read([Source("a.yaml", text.encode())]).mistakes
    return [(one.line, one.path, one.message, one.remedy) for one in found]


def rollout(text: str):
    reading = read([Source("a.yaml", text.encode())])
    assert reading.mistakes == ()
    return reading.declared[0].rollout


CASES = [
    # what stands there, what is written instead; line, path; message, a part of the remedy
    ("0.5pp", "-0.5pp", 13, "guardrails[0].maxIncrease", "wrong sign", "write 0 or more"),
    ("0.5pp", "0.5", 13, "guardrails[0].maxIncrease", "the number 0.5 has no unit", "0.5pp"),
    ("0.5pp", "-0.5", 13, "guardrails[0].maxIncrease", "the number -0.5 has no unit", "pp"),
    ("0.5pp", "0.5%p", 13, "guardrails[0].maxIncrease", "no unit '%p' that is known", "pp"),
    ("0.5pp", "50ms", 13, "guardrails[0].maxIncrease", "50ms cannot be a margin of error_rate",
     "0.5pp or 20%"),
    ("0.5pp", "lots", 13, "guardrails[0].maxIncrease", "'lots' is not a measure", "0.5pp"),
    ("0.5pp", ".nan", 13, "guardrails[0].maxIncrease", "the number NaN has no unit", "pp"),
    ("0.5pp", "1e308pp", 13, "guardrails[0].maxIncrease", "'1e308pp' is not a measure", "20%"),
    ("limit: 5%", "limit: 5pp", 13, "guardrails[0].limit",
     "5pp cannot be a limit of error_rate", "write such as 5%"),
    ("20%", "20pp", 14, "guardrails[1].maxIncrease",
     "20pp cannot be a margin of latency_p99", "20% or 50ms"),
    ("latency_p99", "latency_p98", 14, "guardrails[1].metric",
     "is 'latency_p98', not known here", "did you mean latency_p9"),
    ("metric: latency_p99", "metric: error_rate", 14, "guardrails[1]",
     "error_rate stands already in line 13", "keep one"),
    ("metric: latency_p99, maxIncrease: 20%", "metric: latency", 14, "guardrails[1]",
     "says neither maxIncrease nor limit", "maxIncrease"),
    ("maxIncrease: 20%", "maxDecrease: 20%", 14, "guardrails[1].maxDecrease",
     "is not a field here", "did you mean 'maxIncrease'?"),
    ("weight: 25", "weight: 5", 10, "steps[1].weight", "5 is the same as the step before it (5)",
     "grow from step to step"),
    ("weight: 25", "weight: 2", 10, "steps[1].weight", "2 is less than the step before it (5)",
     "`canary rollback`"),
    ("weight: 100", "weight: 101", 11, "steps[2].weight", "is 101, more than 100", "per cent"),
    ("weight: 5,", "weight: .nan,", 9, "steps[0].weight", "is nan", "finite number"),
    ("weight: 5,", "weight: 1e308,", 9, "steps[0].weight", "is 1E+308, more than", "same number"),
    ("weight: 25,", "weight: .inf,", 10, "steps[1].weight", "is infinity", "finite number"),
    ("old, weight: 0", "old, weight: .nan", 6, "variants[2].weight", "is nan", "finite number"),
    ("weight: 5,", "weight: 0,", 9, "steps[0].weight", "is 0: nobody", "begin above 0"),
    ("hold: 2h", "hold: 30", 9, "steps[0].hold", "the number 30 has no unit", "30s"),
    ("hold: 2h", "hold: -2h", 9, "steps[0].hold", "'-2h' is negative", "10m"),
    ("hold: 2h", "hold: 2 hours", 9, "steps[0].hold", "'2 hours' is not a duration", "1h30m"),
    ("hold: 2h", "hold: 1000d", 9, "steps[0].hold", "'1000d' is longer than 90d", "shorter"),
    ("hold: 2h", "hold: [2h]", 9, "steps[0].hold", "is a list, not text", "write text"),
    ("minSamples: 100", "minSamples: 1.5", 9, "steps[0].minSamples",
     "is the number 1.5, not a whole number", "1000"),
    ("minSamples: 100", "minSamples: -1", 9, "steps[0].minSamples", "is the number -1",
     "whole number from 0"),
    ("minSamples: 100", "minSamples: many", 9, "steps[0].minSamples",
     "is 'many', not a whole number", "without quotes"),
    ("minSamples: 100", "minSamples: .inf", 9, "steps[0].minSamples", "not a whole number", "1000"),
    ("window: {", "hold: 10h, window: {", 10, "steps[1].hold",
     "a hold of 10h that begins in the window always ends outside it", "shorten the hold"),
    ('from: "09:00"', 'from: "17:00"', 10, "steps[1].window",
     "opens and closes at 17:00: never open", "two different times"),
    ('from: "09:00"', 'from: "9 am"', 10, "steps[1].window.from",
     "'9 am' is not a time of day", "09:30"),
    ("[mon, tue]", "[mon, monday]", 10, "steps[1].window.days[1]",
     "is 'monday', not known here", "did you mean mon?"),
    ("[mon, tue]", "[]", 10, "steps[1].window.days", "is an empty list", "name days"),
    ("[mon, tue]", "[mon, mon]", 10, "steps[1].window.days", "names mon twice", "keep one"),
    ("Europe/Berlin", "Mars/Olympus", 10, "steps[1].window.timeZone",
     "'Mars/Olympus' is not a time zone", "Europe/Berlin"),
    ('"https://ci.example.com/go"', "ftp://ci", 11, "steps[2].gate.url",
     "is not a web address", "http:// or https://"),
    ('url: "https://ci.example.com/go", ', "", 11, "steps[2].gate.url", "is missing", "url:"),
    ("timeout: 5s", "timeout: 2h", 11, "steps[2].gate.timeout", "'2h' is no timeout", "at most 1m"),
    ("candidate: canary", "candidate: stable", 7, "candidate",
     "'stable' is the baseline", "that is to come in"),
    ("candidate: canary", "candidate: canry", 7, "candidate",
     "there is no variant 'canry'", "did you mean 'canary'?"),
    ("  candidate: canary\n", "", 4, "candidate", "is missing: there are 2 candidates",
     "canary, old"),
    ("old, weight: 0", "old, weight: 3", 6, "variants[2].weight", "'old' has weight", "write 0"),
    ("onNotMeasured: hold", "onNotMeasured: promote", 15, "onNotMeasured",
     "is 'promote', not known here", "hold, proceed, rollback"),
    ("onNotMeasured: hold", "strategy: blueGreen", 10, "steps[1]",
     "blueGreen switches once, and this is a second step", "keep one step"),
    ("onNotMeasured: hold", "relaunch: sometimes", 15, "relaunch", "not known here",
     "reuse, refresh"),
    ("{webhookFile: /etc/hook}", "{webhookFile: hook}", 16, "notifications[1].webhookFile",
     "'hook' is not an absolute path", "/etc/canary/webhook"),
    ("{webhookFile: /etc/hook}", "{}", 16, "notifications[1]", "names no webhook", "write one of"),
]  # fmt: skip


def test_the_document_that_the_cases_change_is_faultless():
    plan = rollout(GOOD).plan
    assert (plan.baseline, plan.candidate, plan.guarded) == ("stable", "canary", True)
    assert [str(step.weight) for step in plan.steps] == ["5", "25", "100"]
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(GOOD))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[1][:40])
def test_a_mistake_is_named_with_its_line_and_remedy(case):
    old, new, line, path, message, remedy = case
    found = mistakes(changed(old, new))
    near = [one for one in found if (one[0], one[1]) == (line, f"spec.{path}")]
    assert near, found
    assert any(message in one[2] and remedy in one[3] for one in near), near


def test_a_webhook_is_never_shown_in_a_mistake():
    for old, new in (("https://hooks", "ttps://hooks"), ("/s3cret", "/s3cret with space")):
        said = str(mistakes(changed(old, new)))
        assert "is not a web address" in said
        assert "s3cret" not in said


@pytest.mark.parametrize("hold", ["1d", "2h", "7d30m"])
def test_a_hold_that_can_end_in_the_window_is_no_mistake(hold):
    assert mistakes(changed("window: {", f"hold: {hold}, window: {{")) == []


def test_a_salt_without_room_for_the_number_of_a_launch_is_refused_with_refresh():
    long = changed("  candidate", f"  salt: {'s' * 1010}\n  candidate")
    assert mistakes(long) == []
    [(_, path, message, _)] = mistakes(long.replace("onNotMeasured: hold", "relaunch: refresh"))
    assert (path, "each launch adds its number" in message) == ("spec.salt", True)


def test_guardrails_without_steps_are_refused_because_nothing_would_read_them():
    text = GOOD[: GOOD.index("  steps:")] + GOOD[GOOD.index("  guardrails:") :]
    paths = {path: message for _, path, message, _ in mistakes(text)}
    assert "has no effect without steps" in paths["spec.guardrails"]


def test_blue_green_needs_no_steps_and_takes_one_whole_one():
    base = GOOD[: GOOD.index("  steps:")]
    switch = rollout(base + "  strategy: blueGreen\n").plan
    assert [step.weight for step in switch.steps] == [100]
    held = rollout(base + "  strategy: blueGreen\n  steps: [{weight: 100, hold: 5m}]\n").plan
    assert held.steps[0].hold == "5m"
    [(_, path, message, _)] = mistakes(base + "  strategy: blueGreen\n  steps: [{weight: 50}]\n")
    assert (path, "everybody at once, not 50 %" in message) == ("spec.steps[0].weight", True)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("hold: 2h", "hold: 120m", True),
        ("hold: 2h", "hold: 7200s", True),
        ("0.5pp", "0.50pp", True),
        ("0.5pp", "'+0.5pp'", True),
        ("minSamples: 100", "minSamples: 1e2", True),
        ("hold: 2h", "hold: 3h", False),
        ("0.5pp", "0.6pp", False),
        ("onNotMeasured: hold", "onNotMeasured: proceed", False),
    ],
)
def test_the_generation_is_the_content_of_the_launch_not_its_spelling(old, new, same):
    assert (generation(rollout(changed(old, new))) == generation(rollout(GOOD))) is same


def test_a_switch_to_a_weight_that_is_no_number_is_named():
    text = GOOD[: GOOD.index("  steps:")] + "  strategy: blueGreen\n  steps: [{weight: .nan}]\n"
    assert ("spec.steps[0].weight", "is nan") in [(m[1], m[2]) for m in mistakes(text)]
