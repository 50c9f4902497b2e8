"""The native engine passes h2spec, apart from the cases that are known and why."""

from pathlib import Path

import h2spec
import pytest


def test_every_case_passes_or_is_known_with_its_reason():
    program = h2spec.find(str(Path(h2spec.ROOT) / "build" / "go" / "bin")) or h2spec.find()
    if program is None:
        pytest.skip("h2spec is not here: `make h2spec` fetches it, where there is Go")
    results = h2spec.run(program)
    assert len(results) > 140
    news = {n: why for n, why in results.items() if why and not h2spec.explained(n, why)}
    assert news == {}
