"""Every expectation of the demo can fail: each is spoilt alone."""

from dataclasses import replace

import pytest

from bench import demo_watch as watch
from bench.demo_watch import CANARY, STABLE, BrokenError, Phase, Rule
from bench.lab import load
from bench.lab.envoy import EXT_PROC_FAILURES, HTTP_FAILURES, Stats
from bench.lab.process import LabError
from bench.lab.stack import Ran
from bench.lab.upstream import Seen

USERS = tuple(load.user(number) for number in range(400))
RULE = Rule("chat-model", USERS)
MS = 1_000_000
COMMAND = Ran("", started_ns=10_000 * MS, ended_ns=10_300 * MS)


def seen(at_ms, user, percent):
    variant = CANARY if user in RULE.cohort(percent) else STABLE
    return Seen(int(at_ms * MS), user, "/", {}), variant


def everybody(percent, from_ms):
    return [seen(from_ms + number, user, percent) for number, user in enumerate(USERS)]


def changed(*, old_until_ms=10_100, move=True):
    """A change 5 -> 50 whose last request on the old weights came at a moment."""
    before = Phase(5, None, everybody(5, 1_000))
    mover = min(RULE.cohort(50) - RULE.cohort(5))
    after = Phase(50, COMMAND, before=before)
    after.events = [
        seen(old_until_ms, mover, 5),
        *everybody(50 if move else 5, old_until_ms + 1),
    ]
    return after


def test_a_change_is_measured_from_the_command_and_from_its_reply():
    change = watch.judge_change(RULE, changed())
    assert (change.command_ms, change.last_old_ms) == (300, 100)
    assert change.last_old_after_reply_ms == -200
    assert change.moved == change.had_to == len(RULE.cohort(50) - RULE.cohort(5))


def test_old_weights_long_after_the_reply_are_told():
    watch.judge_change(RULE, changed(old_until_ms=11_299))
    with pytest.raises(BrokenError, match="old weights still answered 1001 ms after"):
        watch.judge_change(RULE, changed(old_until_ms=11_301))


def test_an_update_that_never_came_is_told():
    with pytest.raises(BrokenError, match="old weights still answered"):
        watch.judge_change(RULE, changed(move=False))


def test_a_user_who_moved_without_having_to_is_told():
    after = changed()
    stays = min(RULE.cohort(5))
    after.events.append((Seen(12_000 * MS, stays, "/", {}), STABLE))
    with pytest.raises(BrokenError, match="1 users moved who need not, 0 stayed"):
        watch.judge_change(RULE, after)


def test_a_user_on_the_wrong_variant_is_told_even_while_a_change_settles():
    after = changed()
    stays = min(RULE.cohort(5))
    after.events.insert(0, (Seen(10_050 * MS, stays, "/", {}), STABLE))
    watch.judge_change(RULE, after)
    with pytest.raises(BrokenError, match=f"{stays} was answered by stable, must be canary"):
        watch.judge_phase(RULE, after)


def test_a_phase_where_everybody_is_right_passes():
    after = changed()
    watch.judge_change(RULE, after)
    watch.judge_phase(RULE, after)


def test_users_that_were_never_seen_are_told():
    with pytest.raises(BrokenError, match="only 399 of 400 users"):
        watch.judge_phase(RULE, Phase(5, None, everybody(5, 1)[1:]))


def test_a_split_outside_its_interval_is_told():
    few = tuple(user for user in USERS if user not in RULE.cohort(5))
    rule = replace(RULE, users=few)
    events = [event for event in everybody(5, 1) if event[0].user in few]
    with pytest.raises(BrokenError, match="at 5 %: the asked share is outside the interval"):
        watch.judge_phase(rule, Phase(5, None, events))


def stats(**wrong):
    names = [f"ext_proc.canary.{name}" for name in (*EXT_PROC_FAILURES, "streams_started")]
    names += [*HTTP_FAILURES, "downstream_rq_total"]
    counts = {"ext_proc.canary.streams_started": 9, "downstream_rq_total": 9, **wrong}
    return Stats({f"http.ingress.{name}": counts.get(name, 0) for name in names})


def test_a_run_without_failures_gives_its_requests():
    assert watch.judge_failures(stats(), {}) == 9


@pytest.mark.parametrize(
    "name", [*(f"ext_proc.canary.{n}" for n in EXT_PROC_FAILURES), *HTTP_FAILURES]
)
def test_each_failure_of_envoys_is_told_by_its_name(name):
    with pytest.raises(BrokenError, match=name.removeprefix("ext_proc.canary.")):
        watch.judge_failures(stats(**{name: 1}), {})


def test_a_clients_failure_and_an_undecided_request_are_told():
    with pytest.raises(BrokenError, match="ClientOSError"):
        watch.judge_failures(stats(), {"ClientOSError": 1})
    with pytest.raises(BrokenError, match="of 9 requests 8 were decided"):
        watch.judge_failures(stats(**{"ext_proc.canary.streams_started": 8}), {})


def test_a_statistic_that_envoy_does_not_have_is_no_zero():
    with pytest.raises(LabError, match="no statistic"):
        Stats({}).failures()


def test_two_witnesses_must_agree():
    counted = Stats({"cluster.s.upstream_rq_total": 5, "cluster.c.upstream_rq_total": 3})
    clusters = {STABLE: "s", CANARY: "c"}
    watch.judge_witnesses(counted, {STABLE: 5, CANARY: 3}, clusters)
    with pytest.raises(BrokenError, match="Envoy sent 3 requests to c, whose log has 2"):
        watch.judge_witnesses(counted, {STABLE: 5, CANARY: 2}, clusters)
