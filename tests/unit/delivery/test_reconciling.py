"""What the folder declares against what stands."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from sidecar import rollout
from sidecar.delivery import Declared, Document, Kind, Origin, reconcile, set_weights

ORIGIN = Origin(datetime(2026, 11, 23, tzinfo=UTC), "folder")


def document(name, file, canary=5):
    text = (
        "apiVersion: canary.dev/v1\nkind: Rollout\n"
        f"metadata: {{name: {name}}}\nspec:\n  unit: [{{header: x-user-id}}]\n"
        f"  variants: [{{name: stable, weight: 95}}, {{name: canary, weight: {canary}}}]\n"
    )
    one = rollout.read([rollout.Source(file, text.encode())]).declared[0].rollout
    return Document(one, rollout.generation(one), file)


def declared(*documents, **rest):
    return Declared({one.rollout.name: one for one in documents}, **rest)


@pytest.fixture
def states():
    both = declared(document("chat", "chat.yaml"), document("shop", "shop.yaml"))
    return after({}, both)


def after(states, what):
    return states | {c.state.name: c.state for c in reconcile(states, what, ORIGIN)}


def kinds(states, what):
    return {change.event.rollout: change.event.kind for change in reconcile(states, what, ORIGIN)}


def test_what_is_declared_already_changes_nothing(states):
    same = declared(document("chat", "chat.yaml"), document("shop", "shop.yaml"))
    assert reconcile(states, same, ORIGIN) == []


def test_a_document_that_is_gone_retires_its_rollout_alone(states):
    assert kinds(states, declared(document("chat", "chat.yaml"))) == {"shop": Kind.RETIRED}


def test_a_faulty_file_neither_retires_nor_changes_its_rollouts(states):
    broken = declared(document("chat", "chat.yaml"), faulty=frozenset({"shop.yaml"}))
    assert reconcile(states, broken, ORIGIN) == []


def test_a_faulty_file_does_not_hold_up_the_others(states):
    broken = declared(document("chat", "chat.yaml", canary=9), faulty=frozenset({"shop.yaml"}))
    assert kinds(states, broken) == {"chat": Kind.WEIGHTS_DECLARED}


def test_a_folder_that_cannot_be_read_retires_nothing(states):
    assert reconcile(states, declared(complete=False), ORIGIN) == []


def test_a_folder_that_surely_declares_nothing_retires_everything(states):
    assert kinds(states, declared()) == {"chat": Kind.RETIRED, "shop": Kind.RETIRED}


def test_an_unknown_faulty_file_may_be_a_renamed_one_so_nothing_is_retired(states):
    renamed = declared(document("chat", "chat.yaml"), faulty=frozenset({"shop-2.yaml"}))
    assert reconcile(states, renamed, ORIGIN) == []


def test_a_second_claim_waits_until_the_first_file_is_in_order(states):
    second = declared(
        document("chat", "chat.yaml"),
        document("shop", "copy.yaml", canary=50),
        faulty=frozenset({"shop.yaml"}),
    )
    assert reconcile(states, second, ORIGIN) == []


def test_a_faulty_file_holds_nothing_back_that_is_retired(states):
    gone = after(states, declared(document("chat", "chat.yaml")))
    elsewhere = declared(
        document("chat", "chat.yaml"),
        document("shop", "copy.yaml"),
        faulty=frozenset({"shop.yaml"}),
    )
    assert kinds(gone, elsewhere) == {"shop": Kind.RESTORED}


def test_what_comes_back_resumes_with_its_running_weights(states):
    moved = set_weights(states["shop"], {"canary": Decimal(40)}, ORIGIN).state
    gone = after(states | {"shop": moved}, declared(document("chat", "chat.yaml")))
    assert gone["shop"].retired
    both = declared(document("chat", "chat.yaml"), document("shop", "shop.yaml"))
    assert after(gone, both)["shop"].in_force == {"stable": 60, "canary": 40}
    assert kinds(gone, both) == {"shop": Kind.RESTORED}


def test_a_document_that_moved_into_a_file_with_a_typo_is_not_retired(states):
    merged = declared(faulty=frozenset({"shop.yaml"}))
    assert reconcile(states, merged, ORIGIN) == []
