"""How long to wait before trying again."""

from random import Random

from sidecar.control.backoff import Backoff


class Highest(Random):
    def uniform(self, a, b):
        return b


def test_the_ceiling_doubles_up_to_the_limit():
    backoff = Backoff(Highest(), first_s=0.1, limit_s=1.0)
    assert [backoff.next_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.retries == 6


def test_an_answer_begins_anew():
    backoff = Backoff(Highest())
    backoff.next_s()
    backoff.next_s()
    backoff.reset()
    assert (backoff.retries, backoff.next_s()) == (0, 0.1)


def test_the_jitter_is_full_and_seeded():
    first, again = Backoff(Random(7)), Backoff(Random(7))
    waits = [first.next_s() for _ in range(200)]
    assert waits == [again.next_s() for _ in range(200)]
    assert min(waits[10:]) < 0.5
    assert max(waits) > 9.5
    assert all(0 <= wait <= 10 for wait in waits)


def test_ten_thousand_retries_overflow_nothing():
    backoff = Backoff(Highest())
    assert [backoff.next_s() for _ in range(10_000)][-1] == 10.0
