"""What the end-to-end tests share: the lab's stacks leave nothing behind, whatever happens."""

from pathlib import Path

import pytest

from bench.lab.stack import ROOT

E2E = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.envoy)


def processes_in(folder):
    """Ids of the processes whose working directory is (or was) in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            here = (entry / "cwd").readlink() if entry.name.isdigit() else Path("/")
        except OSError:
            continue
        if str(here).startswith(str(folder)):
            found.append(int(entry.name))
    return found


@pytest.fixture
def work_folders(request):
    """List the work folders and the processes of stacks whose plan has this test's own name."""
    name = f"t{abs(hash(request.node.nodeid)) % 10**8}"

    class Folders:
        plan = name

        @staticmethod
        def paths():
            return sorted((ROOT / "build" / "lab").glob(f"{name}-*"))

        @staticmethod
        def processes():
            return processes_in(ROOT / "build" / "lab" / f"{name}-")

    return Folders
