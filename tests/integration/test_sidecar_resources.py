"""A running sidecar hands out what it has in force, whole."""

import pytest
from app_lab import House
from control_lab import document, short_dir

from sidecar.control import calls


@pytest.fixture(scope="module")
def house():
    with short_dir() as root, House(root) as house:
        house.write(text=document("chat") + "---\n" + document("search", 1, 1))
        house.up()
        yield house


def test_the_resources_make_the_table_that_the_sidecar_says_it_has(house):
    held = calls.sidecar_resources(house.settings.admin)
    assert held.version == house.sidecar().table.version
    assert {route.name for route in held.routes} == {"chat", "search"}


def test_the_weights_are_those_in_force_not_those_declared(house):
    assert house.run("weights", "chat", "canary=50")[0] == 0
    house.until_agreed()
    [chat] = [r for r in calls.sidecar_resources(house.settings.admin).routes if r.name == "chat"]
    assert [variant.weight for variant in chat.variants] == [1, 1]
