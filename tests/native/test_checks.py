"""What the C programs of native/check show in seconds; make sanitize, fuzz, soak run longer."""

import re

import pytest
from native_lab import CHECK, ROOT, make

pytestmark = pytest.mark.timeout(600)


def test_every_stored_input_of_the_fuzzers_passes_under_the_sanitizers():
    said = re.findall(r"(\d+) inputs of .*/(\w+)", make("replay"))
    counted = {name: int(count) for count, name in said}
    stored = {
        folder.name: len(list(folder.iterdir())) for folder in (ROOT / "tests" / "corpus").iterdir()
    }
    assert counted == stored
    assert all(stored.values())


def test_connections_and_servers_behave_with_peers_that_python_cannot_be():
    passed = re.findall(r"^ok (\w+)$", make("conn_test"), re.MULTILINE)
    declared = re.findall(r"^    TEST\((\w+)\)", (CHECK / "conn_test.c").read_text(), re.MULTILINE)
    assert passed == declared


def test_no_failing_allocation_crashes_leaks_or_goes_unsaid():
    counted = re.findall(r"failing: (.*?) +(\d+) allocations", make("failing"))
    assert {name for name, _ in counted} >= {"load a table", "answer", "converse"}
    assert all(int(count) > 0 for _, count in counted)
