"""Whatever is pasted is a request, or refused in a few words: never a traceback, never a dump."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli import pasted
from sidecar.errors import CanaryError

REQUEST = {"method": "GET", "url": "https://a.b/c", "headers": [{"name": "x-a", "value": "1"}]}
WHOLE = json.dumps({"log": {"entries": [{"request": REQUEST}]}}).encode()
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def refusal(read, text) -> str:
    with pytest.raises(CanaryError) as refused:
        read(text)
    assert refused.value.remedy
    return str(refused.value)


HOSTILE = {
    "nothing": b"",
    "cut off": WHOLE[: len(WHOLE) // 2],
    "binary": bytes(range(256)) * 4096,
    "nested without end": b"[" * 1_000_000,
    "not UTF-8": WHOLE.replace(b"x-a", b"\xff\xfe"),
    "a list": b"[]",
    "no entries": b'{"log": {}}',
    "entries that are none": b'{"log": {"entries": [1]}}',
    "a request without a head": b'{"log": {"entries": [{"request": {}}]}}',
    "a URL that is none": WHOLE.replace(b"https://a.b/c", b"https://[::1/c"),
    "half a character": WHOLE.replace(b'"1"', b'"\\ud800"'),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_har_file_is_refused_by_its_name_in_a_few_words(tmp_path, content):
    file = tmp_path / "x.har"
    file.write_bytes(content)
    said = refusal(pasted.har, str(file))
    assert said.startswith(str(file))
    assert len(said) < len(str(file)) + 300


def test_a_har_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(pasted, "_MAX_HAR_BYTES", 1 << 20)
    assert refusal(pasted.har, "/dev/zero").startswith("/dev/zero is longer than 1 MiB")


@pytest.mark.parametrize("name", ["/", "x" * 5000, "/dev/null/x", "x.har:" + "9" * 5000, "x:²"])
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert refusal(pasted.har, name)


@pytest.mark.parametrize("number", ["0", "2", "9" * 40])
def test_an_entry_that_is_not_there_is_refused(tmp_path, number):
    (tmp_path / "x.har").write_bytes(WHOLE)
    assert "no entry" in refusal(pasted.har, f"{tmp_path}/x.har:{number}")


@given(ANY_JSON)
def test_any_json_is_a_request_or_refused(tmp_path_factory, value):
    file = tmp_path_factory.getbasetemp() / "any.har"
    for content in (value, {"log": value}, {"log": {"entries": [value]}},
                    {"log": {"entries": [{"request": value}]}},
                    {"log": {"entries": [{"request": REQUEST | {"headers": value}}]}},
                    {"log": {"entries": [{"request": REQUEST | {"url": value}}]}}):  # fmt: skip
        file.write_text(json.dumps(content))
        try:
            headers = pasted.har(str(file))
        except CanaryError:
            continue
        assert {":method", ":authority", ":path"} <= {name for name, _ in headers}


@pytest.mark.parametrize(
    "command",
    ["curl 'http://[::1/'", "curl http://[", "curl -H", "curl -X", "curl --", "curl '", "curl \\"],
)
def test_a_curl_command_that_is_none_is_refused(command):
    assert len(refusal(pasted.curl, command)) < 400


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_after_curl_is_a_request_or_refused(text):
    for command in (text, f"curl {text}", f"curl a.b -H '{text}'", f"curl 'http://{text}'"):
        try:
            headers = pasted.curl(command)
        except CanaryError:
            continue
        assert {":method", ":authority", ":path"} <= {name for name, _ in headers}
