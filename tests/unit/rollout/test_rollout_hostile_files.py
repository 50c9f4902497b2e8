"""Files that cannot be read at all, or that would like to cost us more than they are worth."""

import time

import pytest

from sidecar.rollout import Mistake, Source, read


def only(data: str | bytes, name: str = "a.yaml") -> Mistake:
    reading = read([Source(name, data.encode() if isinstance(data, str) else data)])
    assert reading.declared == ()
    assert len(reading.mistakes) == 1, "\n".join(map(str, reading.mistakes))
    return reading.mistakes[0]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)

UNREADABLE = [
    # data, line, column, message, a part of the remedy
    (b"", 1, 1, "the file declares no rollout", "remove the file"),
    (b" \n\n", 1, 1, "the file declares no rollout", "remove the file"),
    (b"# nothing yet\n---\n---\n", 1, 1, "the file declares no rollout", "remove the file"),
    (b"# []\n", 1, 1, "the file declares no rollout", "say that it is meant: []"),
    (b"a: b\nc: \xff\xfe", 2, 4, "byte 0xff is not UTF-8", "save the file as UTF-8"),
    ("é: b".encode("latin-1"), 1, 1, "byte 0xe9 is not UTF-8", "save the file as UTF-8"),
    ("a: b".encode("utf-16"), 1, 1, "byte 0xff is not UTF-8", "save the file as UTF-8"),
    (b"x" * 10_000_000, 1, 1, "the file is larger than 4 MiB", "split it"),
    (b"a:\n\tb: c", 2, 1, "a tab stands where YAML wants spaces", "indent with spaces"),
    (b"a:\n  b: c\n\td: e", 3, 1, "a tab stands where YAML wants spaces", "indent with spaces"),
    (b"a: @b", 1, 4, "'@' cannot begin a value", "quotes"),
    (b"a: b: c", 1, 5, "a ':' stands where none can", "quotes"),
    (b"a: 1\nb\nc: 2", 2, 1, "a key without its ':'", "key: value"),
    (b"a: [b, c\nd: e", 2, 2, "the bracket opened in line 1 is not closed", "','"),
    (b"a: {b: c", 2, 1, "the bracket opened in line 1 is not closed", "','"),
    (b"a: [b,", 2, 1, "a value is missing, or a bracket before", "'[' and '{'"),
    (b"a:\n  - b\n c: d", 3, 2, "the line does not fit the indentation above it", "align"),
    (b'a: "b\nc: d\n', 3, 1, "the quote opened in line 1 is not closed", "close it"),
    (b'a: "b\n---\nc: d\n', 2, 1, "the quote opened in line 1 is not closed", "close it"),
    (b"a: - b", 1, 4, "a '- ' stands where none can", "a line of its own"),
    (b'a: "\\q"', 1, 5, "the YAML cannot be read: found unknown escape character", "quotes"),
    (b'a: "\\ud800"', 1, 7, "the YAML cannot be read: found invalid Unicode character", "quotes"),
    (b"a: b\x07", 1, 5, "character U+0007 cannot stand in YAML", "escape"),
    (b"a: b\x00c", 1, 5, "character U+0000 cannot stand in YAML", "escape"),
    ("é:\n  \ufeffx: 1".encode(), 2, 3, "character U+FEFF cannot stand in YAML", "escape"),
    (b"? [a]\n: b", 1, 3, "a list or mapping cannot be a field's name", "use a text"),
    (b"a: &x [b]\n*x : c", 2, 1, "alias '*x' is not a text, so it names no field", "use a text"),
    (b"a: *x", 1, 4, "alias '*x' has no anchor '&x' before it", "define it first"),
    (b"--- &x\n...\n--- *x", 3, 5, "alias '*x' has no anchor '&x' before it", "define it first"),
    (b"a: &x [b, *x]", 1, 11, "alias '*x' holds itself", "write the value out"),
    (b"%YAML 3.0\n---\na: b", 1, 1, "the YAML cannot be read: found incompatible", "near here"),
    (b"[" * 100_000, 1, 33, "nested more than 32 deep", "no such depth"),
    (b"- " * 100_000, 1, 65, "nested more than 32 deep", "no such depth"),
    (b"{a: " * 100_000, 1, 129, "nested more than 32 deep", "no such depth"),
    (
        BOMB.encode(),
        6,
        45,
        "its aliases unfold to more than 1,000,000 values",
        "instead of nesting",
    ),
    (b"[" + b"a," * 1_500_000, 1, 2_000_000, "the file holds more than 1,000,000 values", "split"),
    (b"%TAG !a! tag:x\n" * 101, 1, 1, "more than 100 lines begin with '%'", "remove them"),
]

UNREADABLE_JSON = [
    (
        b'{"a": 1,}',
        1,
        9,
        "'}' stands here, where JSON wants a field's name in double quotes",
        ".yaml",
    ),
    (b'{\n "a": 1\n "b": 2}', 3, 2, "'\"' stands here, where JSON wants ',' or '}'", "mend it"),
    (b'{"a" 1}', 1, 6, "'1' stands here, where JSON wants ':'", "mend it"),
    (b"{a: 1}", 1, 2, "'a' stands here, where JSON wants a field's name in double quotes", ".yaml"),
    (b"[1 2]", 1, 4, "'2' stands here, where JSON wants ',' or ']'", "mend it"),
    (b"[1,]", 1, 4, "']' stands here, where JSON wants a value", "mend it"),
    (b'[{"a": ', 1, 8, "the file ends here, where JSON wants a value", "mend it"),
    (b"# no", 1, 1, "'#' stands here, where JSON wants a value", "name the file .yaml"),
    (b'{"a": "b', 1, 7, "the string is not JSON: unterminated string starting at", "close"),
    (b'{"a": "\\q"}', 1, 8, "the string is not JSON: invalid \\escape", "escape it"),
    (b'{"a": "x\ny"}', 1, 9, "the string is not JSON: invalid control character at", "escape it"),
    (b'{"a": "\\ud83d"}', 1, 7, "the string holds half of a surrogate pair", "both halves"),
    (b"[" * 100_000, 1, 33, "nested more than 32 deep", "no such depth"),
    (b'{"a":' * 100_000, 1, 161, "nested more than 32 deep", "no such depth"),
    (b"[" + b"1," * 1_500_000, 1, 2_000_000, "the file holds more than 1,000,000 values", "split"),
    (b"", 1, 1, "the file declares no rollout", "remove the file"),
]


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: repr(case[0][:24]))
def test_an_unreadable_yaml_file_is_one_mistake_with_its_place(case):
    data, line, column, message, remedy = case
    mistake = only(data)
    assert (mistake.line, mistake.column) == (line, column)
    assert mistake.message.startswith(message)
    assert remedy in mistake.remedy


@pytest.mark.parametrize("case", UNREADABLE_JSON, ids=lambda case: repr(case[0][:24]))
def test_an_unreadable_json_file_is_one_mistake_with_its_place(case):
    data, line, column, message, remedy = case
    mistake = only(data, "a.json")
    assert (mistake.line, mistake.column) == (line, column)
    assert mistake.message.startswith(message)
    assert remedy in mistake.remedy


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e99999999999999999999"])
def test_a_weight_that_json_cannot_write_is_named_with_its_path(word):
    text = (
        '{"apiVersion": "canary.dev/v1", "kind": "Rollout", "metadata": {"name": "a"}, "spec":\n'
        f'{{"unit": [{{"cookie": "c"}}], "variants": [{{"name": "v", "weight": {word}}}]}}}}'
    )
    mistake = only(text, "a.json")
    assert (mistake.line, mistake.path) == (2, "spec.variants[0].weight")
    assert "finite" in mistake.remedy


def test_a_key_twice_is_found_in_json_too():
    text = (
        '{"apiVersion": "canary.dev/v1", "kind": "Rollout", "kind": "Rollout",\n'
        '"metadata": {"name": "a"}, "spec":\n'
        '{"unit": [{"cookie": "c"}], "variants": [{"name": "v", "weight": 1}]}}'
    )
    for name in ("a.json", "a.yaml"):
        mistake = only(text, name)
        assert (mistake.line, mistake.column, mistake.path) == (1, 52, "kind")
        assert mistake.message == "the field stands already in line 1"


def test_what_stands_before_the_unreadable_line_is_still_checked():
    text = "kind: Rollouts\n---\na: 'b\n"
    reading = read([Source("a.yaml", text.encode())])
    found = [(one.line, one.path) for one in reading.mistakes]
    assert found == [(1, "apiVersion"), (1, "metadata"), (1, "spec"), (1, "kind"), (4, "")]


@pytest.mark.parametrize(
    "data",
    [
        BOMB.encode(),
        b"x: &a {k: v}\nspec: {variants: [" + b"*a," * 900_000 + b"]}",
        b"a: " + b"9" * 4_000_000,
        b"spec: {variants: [{weight: 0." + b"9" * 4_000_000 + b"}]}",
        b"spec: {variants: [{weight: 0x" + b"9" * 4_000_000 + b"}]}",
        b"spec: {match: {hosts: [" + b"a" * 4_000_000 + b"~]}}",
        b"spec: {match: {pathPrefix: " + b"/a" * 2_000_000 + b"?}}",
        b"metadata: {name: " + b"A-" * 2_000_000 + b"}",
        b"".join(b"k%d: 1\n" % index for index in range(200_000)),
        b"- " + b"a" * 4_000_000,
    ],
    ids=range(10),
)
def test_a_hostile_file_costs_seconds_at_most(data):
    before_s = time.process_time()
    reading = read([Source("a.yaml", data)])
    assert time.process_time() - before_s < 20
    assert reading.declared == ()
    assert reading.mistakes
    assert all(len(str(mistake)) < 1000 for mistake in reading.mistakes)


def test_ten_thousand_rollouts_read_in_seconds():
    one = (
        "apiVersion: canary.dev/v1\nkind: Rollout\nmetadata:\n  name: r{}\nspec:\n"
        "  unit:\n    - header: x-user-id\n    - cookie: session\n"
        "  variants:\n    - name: a\n      weight: 95\n    - name: b\n      weight: 5\n"
    )
    text = "---\n".join(one.format(index) for index in range(10_000))
    before_s = time.process_time()
    reading = read([Source("a.yaml", text.encode())])
    assert time.process_time() - before_s < 15
    assert reading.mistakes == ()
    assert len(reading.declared) == 10_000
