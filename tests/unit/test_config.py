"""Directories, addresses, and which files are meant."""

from pathlib import Path

import pytest

from sidecar import config
from sidecar.config import ConfigError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("unix:///run/canary/control.sock", "unix:///run/canary/control.sock"),
        ("unix:/run/canary/control.sock", "unix:///run/canary/control.sock"),
        ("127.0.0.1:18000", "127.0.0.1:18000"),
        ("127.9.9.9:1", "127.9.9.9:1"),
        ("[::1]:18000", "[::1]:18000"),
        ("localhost:0", "localhost:0"),
    ],
)
def test_addresses_on_this_machine_are_taken(given, meant):
    assert config.address(given) == meant


ELSEWHERE = ["0.0.0.0:18000", "10.0.0.1:80", "[::]:1", "controller:18000", "localhost.evil.com:1"]


@pytest.mark.parametrize("given", ELSEWHERE)
def test_an_address_beyond_this_machine_is_known_for_one(given):
    assert not config.is_local(config.address(given))


@pytest.mark.parametrize("given", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:///r/x:y"])
def test_an_address_on_this_machine_is_known_for_one(given):
    assert config.is_local(config.address(given))


@pytest.mark.parametrize("given", ELSEWHERE)
def test_envoys_side_stays_on_this_machine(given):
    with pytest.raises(ConfigError, match="not on loopback") as refused:
        config.settings(listen=given)
    assert "Unix socket" in refused.value.remedy


@pytest.mark.parametrize("given", [{"tls_cert": "c.pem"}, {"tls_key": "k.pem"}])
def test_a_certificate_without_its_key_is_refused(given):
    with pytest.raises(ConfigError, match="come together") as refused:
        config.settings(**given)
    assert refused.value.remedy


def test_a_controller_on_tcp_keeps_a_socket_for_its_own_machine():
    settings = config.settings(run_dir="/r", control="127.0.0.1:1")
    assert settings.own_control == "unix:///r/control.sock"
    assert config.settings(control="unix:///x/c.sock").own_control == "unix:///x/c.sock"


@pytest.mark.parametrize(
    "given", ["", "18000", "unix:relative.sock", "127.0.0.1", "127.0.0.1:99999", "http://[::1]:1"]
)
def test_what_is_no_address_is_refused_with_a_remedy(given):
    with pytest.raises(ConfigError) as refused:
        config.address(given)
    assert refused.value.remedy


def test_a_socket_path_that_linux_cannot_hold_is_refused():
    config.address("unix:///" + "a" * 106)
    with pytest.raises(ConfigError, match="longer than the 107 bytes"):
        config.address("unix:///" + "a" * 107)


def test_everything_has_a_place_inside_the_directories_given(tmp_path):
    made = config.settings(run_dir="/r", state_dir="/s")
    assert made.control == "unix:///r/control.sock"
    assert made.listen == "unix:///r/ext_proc.sock"
    assert made.admin == "unix:///r/sidecar.sock"
    assert made.database == Path("/s/controller.sqlite")
    assert made.resources == Path("/s/sidecar.resources")
    assert made.node


def test_what_is_given_wins():
    made = config.settings(control="127.0.0.1:1", listen="127.0.0.1:2", node="edge")
    assert (made.control, made.listen, made.node) == ("127.0.0.1:1", "127.0.0.1:2", "edge")


def test_root_and_others_have_their_platform_directories(monkeypatch):
    monkeypatch.setattr(config.os, "geteuid", lambda: 0)
    assert config.default_run_dir() == Path("/run/canary")
    assert config.default_state_dir() == Path("/var/lib/canary")
    monkeypatch.setattr(config.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ann/.local/state")
    assert config.default_run_dir() == Path("/run/user/1000/canary")
    assert config.default_state_dir() == Path("/home/ann/.local/state/canary")


def test_a_folder_means_its_rollout_files_sorted(tmp_path):
    for name in ("b.yml", "a.yaml", "c.json", ".hidden.yaml", "notes.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.yaml").mkdir()
    files = config.rollout_files([tmp_path])
    assert [Path(file.name).name for file in files] == ["a.yaml", "b.yml", "c.json"]
    assert files[0].data == b"a.yaml"


def test_a_file_means_itself_whatever_its_name(tmp_path):
    (tmp_path / "rollout").write_text("x")
    assert [file.data for file in config.rollout_files([tmp_path / "rollout"])] == [b"x"]


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file") as refused:
        config.rollout_files([tmp_path / "gone"])
    assert str(tmp_path / "gone") in str(refused.value)


def test_a_huge_file_is_not_read_whole(tmp_path):
    with (tmp_path / "huge.yaml").open("wb") as huge:
        huge.truncate(1 << 40)
    assert len(config.rollout_files([tmp_path])[0].data) == config.READ_LIMIT_BYTES
