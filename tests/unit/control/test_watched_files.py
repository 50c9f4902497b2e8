"""Files that change in place: the last good content stays."""

import logging

import pytest
from security_lab import put

from sidecar.control.tokens import TokenError, Tokens
from sidecar.control.watched import Watched
from sidecar.errors import CanaryError

OLD, NEW = "a" * 32, "b" * 64


def number(contents: list[bytes]) -> int:
    try:
        return int(contents[0])
    except ValueError:
        raise CanaryError(f"not a number: {contents[0]!r}") from None


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize("broken", [b"x", None])
def test_a_bad_edit_keeps_the_last_good_and_is_logged_once(file, caplog, broken):
    caplog.set_level(logging.INFO)
    watched = Watched([file], number)
    put(file, b"1")
    assert watched.value() == 1
    put(file, broken) if broken else file.unlink()
    assert [watched.value() for _ in range(3)] == [1, 1, 1]
    assert len(caplog.records) == 1
    put(file, b"2")
    assert watched.value() == 2
    assert [record.message for record in caplog.records][1:] == ["files taken anew"]


def test_what_was_never_good_is_an_error_until_it_is(file):
    watched = Watched([file], number)
    with pytest.raises(CanaryError, match="no such file"):
        watched.value()
    put(file, b"x")
    with pytest.raises(CanaryError, match="not a number"):
        watched.value()
    put(file, b"3")
    assert watched.value() == 3


def test_the_same_content_is_judged_once(file):
    judged = []
    watched = Watched([file], lambda contents: judged.append(contents[0]) or len(judged))
    for content in (b"1", b"1", b"2"):
        put(file, content)
        watched.value()
    assert judged == [b"1", b"2"]


def test_a_file_that_everybody_may_write_is_refused(file):
    put(file, b"1", 0o602)
    with pytest.raises(CanaryError, match="written by everybody") as refused:
        Watched([file], number).value()
    assert f"chmod o-w {file}" in refused.value.remedy


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_secret_that_everybody_may_read_is_warned_about(file, caplog, mode, warned):
    put(file, OLD.encode(), mode)
    assert Tokens(file).know(OLD)
    assert len(caplog.records) == warned


def test_every_line_is_a_token_and_the_first_is_sent(file):
    put(file, f"{NEW}\n\n  {OLD}\n".encode())
    tokens = Tokens(file)
    assert tokens.first() == NEW
    assert tokens.know(NEW)
    assert tokens.know(OLD)
    assert not any(tokens.know(other) for other in ("", OLD[:-1], OLD + "a", NEW + OLD))


def test_a_token_is_taken_and_dropped_with_its_line(file):
    put(file, OLD.encode())
    tokens = Tokens(file)
    assert tokens.know(OLD)
    put(file, NEW.encode())
    assert tokens.know(NEW)
    assert not tokens.know(OLD)


@pytest.mark.parametrize("content", ["", "\n\n", "hunter2", OLD + "\nhunter2", "two words " * 9])
def test_what_is_no_token_is_refused_without_showing_it(file, content):
    put(file, content.encode())
    with pytest.raises(TokenError, match=str(file)) as refused:
        Tokens(file).first()
    assert "openssl rand -hex 32" in refused.value.remedy
    assert "hunter2" not in str(refused.value)
    assert "two words" not in str(refused.value)
