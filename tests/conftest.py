"""What every test may use: messages as Envoy sends them, and hypothesis without flakiness."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

END_TO_END = Path(__file__).parent / "e2e"

# The lab and the helpers are imported by name from wherever pytest runs.
for folder in (Path(__file__).parent.parent, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")


def pytest_collection_modifyitems(items):
    # Whatever puts an Envoy under load has one worker to itself, the other takes all the rest:
    # two Envoys at once on two cores would measure each other. A module stays together, with what
    # it has set up.
    for item in items:
        group = "e2e" if END_TO_END in item.path.parents else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
