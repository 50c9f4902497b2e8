"""The last good resources on disk."""

import pytest

from sidecar.control import codec, edition, following, keepsake
from sidecar.control.codec import ResourceError
from sidecar.control.keepsake import KeepsakeError
from sidecar.routing import Route, UnitSource, Variant


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "sidecar.resources"


def holdings(*names):
    return following.restore(
        (name, f"v-{name}", codec.encode(one)) for name, one in ((n, route(n)) for n in names)
    )


def route(name):
    unit = (UnitSource("header", "x-user-id"),)
    return Route(name=name, unit=unit, salt=b"s", variants=(Variant("stable", 1),))


def test_what_was_saved_is_loaded_exactly(path):
    keepsake.save(path, holdings("chat", "shop"))
    assert keepsake.load(path) == holdings("chat", "shop")
    keepsake.save(path, holdings("chat"))
    assert keepsake.load(path) == holdings("chat")


def test_no_file_is_no_error(path):
    assert keepsake.load(path) is None


def test_every_single_damaged_byte_is_noticed(path):
    keepsake.save(path, holdings("chat"))
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        with pytest.raises(KeepsakeError) as refused:
            keepsake.load(path)
        assert str(path) in str(refused.value)


def test_every_truncation_is_noticed(path):
    keepsake.save(path, holdings("chat"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(KeepsakeError, match="damaged and ignored"):
            keepsake.load(path)


def test_a_save_that_fails_leaves_the_old_file_and_no_other(path, monkeypatch):
    keepsake.save(path, holdings("chat"))

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keepsake.os, "fsync", full)
    with pytest.raises(KeepsakeError, match="No space left"):
        keepsake.save(path, holdings("chat", "shop"))
    assert keepsake.load(path) == holdings("chat")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_file_is_for_its_owner_only(path):
    keepsake.save(path, holdings("chat"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_this_release_cannot_use_is_refused_when_it_is_read(path):
    keepsake.save(path, holdings("chat"))
    body = path.read_bytes().partition(b"\n")[2].replace(b"stable", b"STABLE")
    path.write_bytes(keepsake._MAGIC + keepsake._checksum(body) + b"\n" + body)
    with pytest.raises(ResourceError, match="'chat'"):
        edition.after(None, keepsake.load(path), {}, ())
