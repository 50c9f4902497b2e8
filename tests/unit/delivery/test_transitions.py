"""How a rollout's state may change, and what is recorded of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import delivery, rollout
from sidecar.delivery import ConflictError, Document, Kind, Origin, RetiredError, State

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
WEIGHTS = st.decimals(0, 1000, places=3)


def document(file="chat.yaml", path="/v1", **weights):
    variants = ", ".join(f"{{name: {name}, weight: {w}}}" for name, w in weights.items())
    text = (
        "apiVersion: canary.dev/v1\nkind: Rollout\nmetadata: {name: chat}\nspec:\n"
        f"  match: {{pathPrefix: {path}}}\n  unit: [{{header: x-user-id}}]\n"
        f"  variants: [{variants}]\n"
    )
    reading = rollout.read([rollout.Source(file, text.encode())])
    assert not reading.mistakes
    one = reading.declared[0].rollout
    return Document(one, rollout.generation(one), file)


def origin(minute=0, who="ann", why="because"):
    return Origin(START + timedelta(minutes=minute), who, why)


def declared(**weights) -> State:
    return delivery.adopt(None, document(**weights), origin()).state


def running(state, **changes) -> State:
    decimals = {name: Decimal(str(weight)) for name, weight in changes.items()}
    return delivery.set_weights(state, decimals, origin()).state


def test_a_first_declaration_puts_its_weights_in_force():
    change = delivery.adopt(None, document(stable=95, canary=5), origin(who="folder"))
    assert change.state.in_force == {"stable": 95, "canary": 5}
    assert change.state.revision == change.event.revision == 1
    assert change.event.kind == Kind.DECLARED
    assert change.event.before == {}
    assert change.event.after == {"stable": 95, "canary": 5}
    assert change.event.origin.who == "folder"


def test_the_same_document_again_changes_nothing():
    state = declared(stable=95, canary=5)
    assert delivery.adopt(state, document(stable="95.0", canary=5), origin(1)) is None


def test_a_new_generation_with_unchanged_weights_keeps_the_running_ones():
    state = running(declared(stable=95, canary=5), canary=50)
    change = delivery.adopt(state, document(path="/v2", stable=95, canary=5), origin(1))
    assert change.state.in_force == {"stable": 50, "canary": 50}
    assert change.state.document.rollout.path_prefix == "/v2"
    assert change.event.kind == Kind.DOCUMENT_CHANGED
    assert change.state.revision == 3


def test_a_new_generation_with_changed_weights_puts_them_in_force():
    state = running(declared(stable=95, canary=5), canary=50)
    change = delivery.adopt(state, document(stable=90, canary=10), origin(1))
    assert change.state.in_force == {"stable": 90, "canary": 10}
    assert change.event.kind == Kind.WEIGHTS_DECLARED
    assert change.event.before == {"stable": 50, "canary": 50}


def test_the_same_ratios_on_another_scale_keep_the_running_weights_on_that_scale():
    state = running(declared(stable=95, canary=5), canary=60)
    change = delivery.adopt(state, document(stable=950, canary=50), origin(1))
    assert change.event.kind == Kind.DOCUMENT_CHANGED
    assert change.state.in_force == {"stable": 400, "canary": 600}
    state = running(declared(stable=1, canary=2, b=0), canary=1)
    change = delivery.adopt(state, document(stable="0.1", canary="0.2", b=0), origin(1))
    assert change.state.in_force == {"stable": Decimal("0.2"), "canary": Decimal("0.1"), "b": 0}


@pytest.mark.parametrize(
    "weights", [{"stable": 950, "canary": 51}, {"stable": 0, "canary": 1}, {"stable": 5}]
)
def test_other_ratios_are_a_change_of_weights(weights):
    state = running(declared(stable=95, canary=5), canary=60)
    change = delivery.adopt(state, document(**weights), origin(1))
    assert change.event.kind == Kind.WEIGHTS_DECLARED


def test_a_variant_declared_at_zero_joins_without_touching_the_running_weights():
    state = running(declared(stable=95, canary=5), canary=50)
    change = delivery.adopt(state, document(stable=95, canary=5, next=0), origin(1))
    assert change.state.in_force == {"stable": 50, "canary": 50, "next": 0}
    assert change.event.kind == Kind.DOCUMENT_CHANGED


def test_a_variant_declared_above_zero_is_a_change_of_weights():
    state = running(declared(stable=95, canary=5), canary=50)
    change = delivery.adopt(state, document(stable=95, canary=5, next=1), origin(1))
    assert change.state.in_force == {"stable": 95, "canary": 5, "next": 1}
    assert change.event.kind == Kind.WEIGHTS_DECLARED


def test_a_variant_with_no_weight_in_force_may_leave_without_a_change_of_weights():
    state = running(declared(stable=90, canary=5, done=5), canary=50, done=0)
    change = delivery.adopt(state, document(stable=90, canary=5), origin(1))
    assert change.state.in_force == {"stable": 50, "canary": 50}
    assert change.event.kind == Kind.DOCUMENT_CHANGED


def test_a_running_variant_that_leaves_is_a_change_of_weights():
    state = running(declared(stable=90, canary=5, other=5), other=50)
    change = delivery.adopt(state, document(stable=90, canary=5), origin(1))
    assert change.state.in_force == {"stable": 90, "canary": 5}
    assert change.event.kind == Kind.WEIGHTS_DECLARED


def test_a_document_that_moves_to_another_file_is_recorded():
    change = delivery.adopt(
        declared(stable=95, canary=5), document("other.yaml", stable=95, canary=5), origin(1)
    )
    assert change.state.document.file == "other.yaml"
    assert change.event.kind == Kind.DOCUMENT_CHANGED


def test_a_retired_rollout_keeps_its_running_weights_for_its_return():
    state = running(declared(stable=95, canary=5), canary=50)
    gone = delivery.retire(state, origin(1))
    assert gone.state.retired
    assert (gone.event.kind, gone.event.after) == (Kind.RETIRED, {})
    assert delivery.retire(gone.state, origin(2)) is None
    back = delivery.adopt(gone.state, document(stable=95, canary=5), origin(3))
    assert not back.state.retired
    assert back.state.in_force == {"stable": 50, "canary": 50}
    assert (back.event.kind, back.event.before) == (Kind.RESTORED, {})


def test_a_retired_rollout_that_returns_with_other_weights_takes_them():
    gone = delivery.retire(running(declared(stable=95, canary=5), canary=50), origin(1)).state
    back = delivery.adopt(gone, document(stable=99, canary=1), origin(2))
    assert back.state.in_force == {"stable": 99, "canary": 1}


def test_a_retired_rollout_that_returns_otherwise_changed_starts_as_declared():
    gone = delivery.retire(running(declared(stable=95, canary=5), canary=100), origin(1)).state
    another = document(path="/v2", stable=95, canary=5)
    back = delivery.adopt(gone, another, origin(2))
    assert back.state.in_force == {"stable": 95, "canary": 5}
    assert back.event.kind == Kind.RESTORED


def test_a_retired_rollout_takes_no_weights():
    gone = delivery.retire(declared(stable=95, canary=5), origin()).state
    with pytest.raises(RetiredError, match="its document is gone") as refused:
        delivery.set_weights(gone, {"canary": Decimal(1)}, origin())
    assert "chat.yaml" in refused.value.remedy


def test_set_weights_records_who_why_and_both_sides():
    state = declared(stable=95, canary=5)
    change = delivery.set_weights(state, {"canary": Decimal(50)}, origin(5, "bob", "looks good"))
    assert change.state.in_force == {"stable": 50, "canary": 50}
    assert change.state.changed_at == START + timedelta(minutes=5)
    assert change.state.revision == change.event.revision == 2
    assert change.event.kind == Kind.WEIGHTS_SET
    assert change.event.origin == origin(5, "bob", "looks good")
    assert change.event.before == {"stable": 95, "canary": 5}
    assert change.event.after == change.state.in_force


def test_weights_already_in_force_are_no_change():
    state = declared(stable=95, canary=5)
    assert delivery.set_weights(state, {"canary": Decimal("5.0")}, origin()) is None


def test_a_stale_revision_is_a_conflict_even_for_the_same_weights():
    state = running(declared(stable=95, canary=5), canary=50)
    with pytest.raises(ConflictError, match="at revision 2, not 1") as refused:
        delivery.set_weights(state, {"canary": Decimal(50)}, origin(), expected_revision=1)
    assert "canary status" in refused.value.remedy
    assert delivery.set_weights(state, {"canary": Decimal(6)}, origin(), expected_revision=2)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 100)),
        st.tuples(st.just("document"), st.integers(1, 3)),
        st.tuples(st.just("retire"), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS)
def test_every_accepted_change_raises_the_revision_by_one_and_carries_its_event(steps):
    documents = {n: document(stable=100 - n, canary=n) for n in (1, 2, 3)}
    state = delivery.adopt(None, documents[1], origin()).state
    for step, value in steps:
        if step == "retire":
            change = delivery.retire(state, origin())
        elif step == "document":
            change = delivery.adopt(state, documents[value], origin())
        elif state.retired:
            continue
        else:
            change = delivery.set_weights(state, {"canary": Decimal(value)}, origin())
        if change is None:
            continue
        after = change.state
        assert after.revision == change.event.revision == state.revision + 1
        assert list(after.in_force) == ["stable", "canary"]
        assert sum(after.in_force.values()) == 100
        assert change.event.after == ({} if after.retired else after.in_force)
        assert change.event.before == ({} if state.retired else state.in_force)
        state = after
