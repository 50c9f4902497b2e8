"""A window goes by the clocks of its zone: through the night, the week's end and DST switches.

Berlin's clocks go from 02:00 to 03:00 on 28 March 2027, and from 03:00 to 02:00 on 31 October.
"""

from datetime import UTC, datetime, timedelta

import pytest

from sidecar.rollout import Source, is_open, read

BERLIN = "timeZone: Europe/Berlin"
OFFICE = f'{{days: [mon, tue, wed, thu, fri], from: "09:00", to: "16:00", {BERLIN}}}'
NIGHT = f'{{days: [sat], from: "22:00", to: "04:00", {BERLIN}}}'
SMALL_HOUR = f'{{from: "02:00", to: "03:00", {BERLIN}}}'


def window(text):
    """The window of a document's step, as it is read."""
    document = (
        "apiVersion: canary.dev/v1\nkind: Rollout\nmetadata: {name: chat}\nspec:\n"
        "  unit: [{header: x-user-id}]\n"
        "  variants: [{name: stable, weight: 1}, {name: canary, weight: 0}]\n"
        f"  steps: [{{weight: 100, window: {text}}}]\n"
    )
    reading = read([Source("a.yaml", document.encode())])
    assert not reading.mistakes
    return reading.declared[0].rollout.spec.steps[0].window


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def open_minutes(text, first, hours):
    """How many minutes it is open, from a moment of UTC on."""
    found = window(text)
    return sum(is_open(found, at(first) + timedelta(minutes=m)) for m in range(60 * hours))


@pytest.mark.parametrize(
    ("text", "moment", "opened"),
    [
        ("{}", "2027-01-05T03:00", True),
        # Without a zone, by UTC: whatever clock the controller's machine shows.
        ('{from: "09:00", to: "16:00"}', "2027-07-06T08:59", False),
        ('{from: "09:00", to: "16:00"}', "2027-07-06T09:00", True),
        ('{from: "09:00", to: "16:00"}', "2027-07-06T16:00", False),
        # In winter Berlin is an hour ahead of UTC, in summer two.
        (OFFICE, "2027-01-05T08:00", True),
        (OFFICE, "2027-01-05T07:59", False),
        (OFFICE, "2027-07-06T07:00", True),
        (OFFICE, "2027-07-06T06:59", False),
        (OFFICE, "2027-07-06T14:00", False),
        # The Friday before a switch and the Monday after it.
        (OFFICE, "2027-03-26T08:00", True),
        (OFFICE, "2027-03-26T07:30", False),
        (OFFICE, "2027-03-29T07:00", True),
        (OFFICE, "2027-10-29T07:00", True),
        (OFFICE, "2027-11-01T07:30", False),
        (OFFICE, "2027-11-01T08:00", True),
        # Monday in Auckland is still Sunday in UTC.
        ("{days: [mon], timeZone: Pacific/Auckland}", "2027-01-03T12:00", True),
        ("{days: [sun], timeZone: Pacific/Auckland}", "2027-01-03T12:00", False),
    ],
)
def test_a_window_is_open_by_the_clocks_of_its_zone(text, moment, opened):
    assert is_open(window(text), at(moment)) is opened


@pytest.mark.parametrize(
    ("text", "first", "minutes"),
    [
        (NIGHT, "2027-03-20T12:00", 360),
        # The night that lacks an hour, and the one that has one twice.
        (NIGHT, "2027-03-27T12:00", 300),
        (NIGHT, "2027-10-30T12:00", 420),
        (SMALL_HOUR, "2027-03-27T12:00", 0),
        (SMALL_HOUR, "2027-10-30T12:00", 120),
        (SMALL_HOUR, "2027-11-06T12:00", 60),
    ],
)
def test_an_hour_that_is_not_there_is_never_open_and_one_that_comes_twice_is_open_twice(
    text, first, minutes
):
    assert open_minutes(text, first, 24) == minutes
