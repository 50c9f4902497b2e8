"""The lab's oracle against the golden vectors and against numbers anybody can look up."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from bench.lab import oracle

VECTORS = Path(__file__).parents[2] / "conformance" / "assignment-v1.json"


def test_positions_are_those_of_the_golden_vectors():
    vectors = json.loads(VECTORS.read_text())["hash"]
    assert vectors
    for one in vectors:
        assert f"{oracle.position(one['salt'], one['unit']):016x}" == one["position"]


def test_the_interval_is_wilsons():
    low, high = oracle.wilson95(10, 100)
    assert (low, high) == (pytest.approx(0.05522914, abs=1e-8), pytest.approx(0.17436566, abs=1e-8))


def test_nothing_and_everything_are_exact():
    assert oracle.wilson95(0, 50)[0] == 0.0
    assert oracle.wilson95(50, 50)[1] == 1.0
    assert oracle.wilson95(0, 0) == (0.0, 1.0)


def test_zero_and_whole_shares_leave_nobody_out():
    users = [f"user-{number}" for number in range(1000)]
    assert oracle.cohort("salt", users, Fraction(0)) == frozenset()
    assert oracle.cohort("salt", users, Fraction(1)) == frozenset(users)


def test_who_is_in_stays_in_while_the_share_grows():
    users = [f"user-{number}" for number in range(1000)]
    cohorts = [oracle.cohort("salt", users, Fraction(share, 100)) for share in (1, 5, 50)]
    assert cohorts[0] < cohorts[1] < cohorts[2]
