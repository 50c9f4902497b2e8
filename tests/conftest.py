"""What every test may use: messages as Envoy sends them, and hypothesis without flakiness."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# The lab and the helpers are imported by name from wherever pytest runs.
for folder in (Path(__file__).parent.parent, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")
