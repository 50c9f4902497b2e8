"""The share that a row's table was designed with, whichever of the tables sent a row names."""

from sidecar.control.designs import Designs


def test_any_table_that_was_sent_while_a_share_was_in_force_means_that_share():
    designs = Designs()
    for number in range(1000):
        designs.published(f"t{number}", {"chat": 0.05 if number < 500 else 0.25})
    asked = ["t0", "t499", "t500", "t999", "never sent"]
    assert designs.of("chat", asked) == {"t0": 0.05, "t499": 0.05, "t500": 0.25, "t999": 0.25}
    assert designs.of("ghost", asked) == {}


def test_a_share_that_is_unknown_is_not_guessed():
    designs = Designs()
    designs.published("t1", {"chat": None})
    designs.published("t2", {"chat": 0.5})
    assert designs.of("chat", ["t1", "t2"]) == {"t2": 0.5}


def test_tables_from_before_a_launch_mean_nothing_to_it():
    designs = Designs()
    designs.published("t1", {})
    designs.published("t2", {"chat": 0.5})
    assert designs.of("chat", ["t1", "t2"]) == {"t2": 0.5}
    designs.published("t3", {})
    assert designs.of("chat", ["t2"]) == {}


def test_a_table_that_comes_again_means_what_it_meant():
    designs = Designs()
    for version, share in (("a", 0.1), ("b", 0.2), ("a", 0.1)):
        designs.published(version, {"chat": share})
    assert designs.of("chat", ["a", "b"]) == {"a": 0.1, "b": 0.2}


def test_the_oldest_tables_are_forgotten_and_never_mistaken():
    designs = Designs(most_tables=100)
    for number in range(1050):
        designs.published(f"t{number}", {"chat": number / 10_000})
    found = designs.of("chat", [f"t{number}" for number in range(1050)])
    assert 50 <= len(found) <= 100
    assert found == {f"t{n}": n / 10_000 for n in range(1050 - len(found), 1050)}
