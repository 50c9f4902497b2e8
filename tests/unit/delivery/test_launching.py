"""What an edited document does to a launch."""

from decimal import Decimal

import pytest
from launch_lab import GUARDED, STEPS, Launch, document, origin

from sidecar import delivery
from sidecar.delivery import Command, Kind

LONGER = STEPS.replace("10m", "20m")
FINER = "[{weight: 1}, {weight: 5, hold: 1h}, {weight: 50}]"


def at_25(*args, **kwargs) -> Launch:
    launch = Launch(*args, **kwargs)
    launch.tick(0)
    launch.tick(10, "healthy", 500)
    assert launch.stands == ("Running", 2, 25)
    return launch


def adopt(launch, *args, minutes=11, **kwargs):
    return launch.take(
        delivery.adopt(launch.state, document(*args, **kwargs), origin(minutes, "folder"))
    )


@pytest.mark.parametrize(
    ("args", "stands"),
    [
        (("chat", LONGER), ("Running", 2, 25)),
        ((*GUARDED[:2], GUARDED[2]), ("Running", 2, 25)),
        (("chat", FINER), ("Running", 2, 25)),
        (("chat", "[{weight: 30}, {weight: 60}]"), ("Pending", 0, 25)),
    ],
)
def test_an_edited_way_takes_nobody_back(args, stands):
    launch = at_25()
    assert adopt(launch, *args).event.kind is Kind.DOCUMENT_CHANGED
    assert launch.stands == stands
    assert launch.state.progress.launch == 1


def test_an_edited_hold_counts_from_when_the_step_began():
    launch = at_25()
    adopt(launch, "chat", LONGER)
    assert launch.tick(29.9) is None
    assert launch.tick(30)


def test_another_cluster_is_another_launch():
    launch = at_25()
    assert adopt(launch, cluster="v3").event.kind is Kind.LAUNCHED
    assert launch.stands == ("Pending", 0, 0)
    assert launch.state.progress.launch == 2


def test_a_changed_declared_weight_means_nothing_where_there_are_steps():
    launch = at_25()
    adopt(launch, candidate=50)
    assert launch.stands == ("Running", 2, 25)


def test_after_a_rollback_the_way_must_change_before_it_launches_again():
    launch = at_25()
    launch.give(Command.ROLL_BACK, 11)
    adopt(launch, "chat", STEPS, "match: {pathPrefix: /v2}")
    assert launch.stands == ("RolledBack", 2, 0)
    adopt(launch, "chat", LONGER, "match: {pathPrefix: /v2}")
    assert launch.stands == ("Pending", 0, 0)


def test_a_promoted_launch_stays_promoted_whatever_becomes_of_its_steps():
    launch = at_25()
    launch.give(Command.PROMOTE, 11)
    adopt(launch, "chat", FINER)
    assert launch.stands == ("Promoted", 3, 100)


def test_steps_given_to_weights_moved_by_hand_begin_where_those_stand():
    launch = Launch("chat", "")
    launch.take(delivery.set_weights(launch.state, {"canary": Decimal(19)}, origin()))
    adopt(launch)
    assert launch.stands == ("Running", 1, 19)


def test_steps_taken_away_leave_the_weights_as_they_are():
    launch = at_25()
    adopt(launch, "chat", "")
    assert launch.state.progress is None
    assert launch.state.in_force == {"stable": 75, "canary": 25}


def test_a_document_that_comes_back_resumes_and_a_changed_one_launches_anew():
    for args, stands in (
        (("chat", STEPS), ("Running", 2, 25)),
        (("chat", LONGER), ("Pending", 0, 0)),
    ):
        launch = at_25()
        launch.take(delivery.retire(launch.state, origin(11)))
        assert launch.tick(60) is None
        adopt(launch, *args, minutes=61)
        assert launch.stands == stands
