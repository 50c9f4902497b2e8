"""docs/security.md says commands: they are run as they stand, on a port of their own."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from app_lab import House, refused
from control_lab import short_dir

from bench.lab.process import Child
from sidecar import config
from sidecar.control import calls

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
CONTROLLER = "canary-controller.canary-system.svc"
WEB = "spiffe://example.com/ns/shop/sa/web"


def commands(heading: str) -> list[str]:
    """The commands of the first block after these words, lines that go on joined."""
    block = re.search(r"```sh\n(.*?)```", TEXT[TEXT.index(heading) :], re.DOTALL)[1]
    return block.replace("\\\n", "").splitlines()


class Reader(House):
    """Somebody who types what the document says, in a folder with rollouts."""

    def type(self, command: str) -> Child:
        """Start it as a shell would; port 0 instead of the one that may be taken."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        words = ["env", f"PATH={path}", "bash", "-c", f"exec {command}"]
        child = Child(f"typed-{len(self._children)}", words, self.root, env=self.env)
        self._children.append(child)
        return child

    def until_serving(self, command: str) -> str:
        assert "--control 127.0.0.1:18000" in command
        child = self.type(command.replace(":18000", ":0"))
        self.until("it listens", lambda: "controller serving" in child.log.read_text(), child)
        return re.search(r"address=(127\S+)", child.log.read_text())[1]


@pytest.fixture
def reader():
    with short_dir() as root, Reader(root) as made:
        made.write()
        for command in commands("## Mutual TLS")[:3]:
            assert made.type(command).wait(30) == 0
        yield made


def test_five_commands_make_mutual_tls(reader):
    five = commands("## Mutual TLS")
    assert len(five) == 5
    address = reader.until_serving(five[3])
    sidecar = reader.type(five[4].replace("127.0.0.1:18000", address))
    reader.until_ready(sidecar)
    [connected] = reader.controller().sidecars
    assert connected.identity == WEB
    assert reader.sidecar().control_stream.address == address
    given = {"tls_ca": reader.root / "ca.crt", "control_name": CONTROLLER}
    assert "wants one" in refused(
        lambda: calls.controller_status(address, config.security(**given))
    )


def test_tokens_instead_of_client_certificates(reader):
    make, serve = commands("**Tokens**")
    assert reader.type(f"bash -c {shlex.quote(make)}").wait(30) == 0
    address = reader.until_serving(serve)
    given = {"tls_ca": reader.root / "ca.crt", "control_name": CONTROLLER}
    for file, mine in (("sidecars.token", False), ("operators.token", True)):
        token = reader.root / file
        assert token.stat().st_mode & 0o077 == 0
        security = config.security(**given, token_file=token)
        assert calls.controller_status(address, security).version

        def change(security=security):
            return calls.set_weights(address, "chat", {"canary": 50}, security=security)

        assert change().changed if mine else "may follow" in refused(change)


def test_every_flag_and_variable_named_there_exists(reader):
    said = "".join(reader.run(name, "--help")[1] for name in ("controller", "sidecar"))
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert len(flags) > 10
    assert {flag for flag in flags if flag not in said} == set()
