"""Every kind of mistake: its line and column, its path, and the words that help."""

import pytest

from sidecar.rollout import Mistake, Source, read

# Each case changes one line of this, so that the line of its mistake is known by heart.
GOOD = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata:
  name: chat
  labels: {team: chat}
spec:
  assignment: v1
  match:
    hosts: [a.example.com, b.example.com]
    pathPrefix: /v1
  unit:
    - header: x-user-id
    - cookie: session
  salt: chat-2026
  variants:
    - name: stable
      weight: 95
    - name: canary
      weight: 5
      cluster: chat-v2
"""
DNS = "use 1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit"


def mistakes(*files: str | bytes, suffix: str = "yaml") -> list[Mistake]:
    data = [text.encode() if isinstance(text, str) else text for text in files]
    reading = read(Source(f"{index}.{suffix}", one) for index, one in enumerate(data))
    return list(reading.mistakes)


def only(*files: str | bytes, suffix: str = "yaml") -> Mistake:
    found = mistakes(*files, suffix=suffix)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def seen(mistake: Mistake) -> tuple[int, int, str, str]:
    return mistake.line, mistake.column, mistake.path, mistake.message


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


FIELDS = [
    # what stands there, what is written instead; line, column, path; message, a part of the remedy
    ("canary.dev/v1", "v1", 1, 13, "apiVersion", "is 'v1', not 'canary.dev/v1'", "canary.dev/v1"),
    ("kind: Rollout", "kind: rollout", 2, 7, "kind",
     "is 'rollout', not 'Rollout'", "kind: Rollout"),
    ("kind: Rollout", "kind: Secret", 2, 7, "kind", "is 'Secret', not 'Rollout'", "no Rollout"),
    ("kind: Rollout", "kind: 5", 2, 7, "kind", "is the number 5, not 'Rollout'", "kind: Rollout"),
    ("kind: Rollout\n", "", 1, 1, "kind", "is missing", "add it, such as kind: Rollout"),
    ("  name: chat\n", "", 3, 1, "metadata.name", "is missing", "name: chat-model"),
    ("name: chat\n", "name: Chat Model\n", 4, 9, "metadata.name",
     "'Chat Model' is not a DNS label", DNS + ", such as 'chat-model'"),
    ("name: chat\n", "name: [a]\n", 4, 9, "metadata.name",
     "is a list, not text", "write text, such as name: chat-model"),
    ("name: chat\n", "name: chat_\n", 4, 9, "metadata.name",
     "'chat_' is not a DNS label", "such as 'chat'"),
    ("name: chat\n", f"name: {'x' * 64}\n", 4, 9, "metadata.name",
     f"'{'x' * 50}'… (64 characters) is not a DNS label", DNS),
    ("name: chat\n", "name: shadow-a\n", 4, 9, "metadata.name",
     "'shadow-a' begins with 'shadow-', which is reserved", "another name"),
    ("name: chat\n", "name: 42\n", 4, 9, "metadata.name", "is the number 42, not text", "quotes"),
    ("name: chat\n", "name: true\n", 4, 9, "metadata.name", "is true, not text", "quotes"),
    ("name: chat\n", "name:\n", 4, 8, "metadata.name", "is empty, not text", "give it a value"),
    ("name: chat\n", 'name: ""\n', 4, 9, "metadata.name", "'' is not a DNS label", DNS),
    ("  labels", "  lables", 5, 3, "metadata.lables",
     "is not a field here", "did you mean 'labels'?"),
    ("metadata:\n  name: chat\n  labels: {team: chat}", "metadata: [name, chat]", 3, 11, "metadata",
     "is a list, not a mapping", "such as metadata: {name: chat-model}"),
    ("team: chat", "team: 5", 5, 18, "metadata.labels.team", "is the number 5, not text", "quotes"),
    ("{team: chat}", "[chat]", 5, 11, "metadata.labels",
     "is a list, not a mapping", "such as labels: {team: chat}"),
    ("assignment: v1", "assignment: v2", 7, 15, "spec.assignment",
     "is 'v2', not 'v1'", "write assignment: v1"),
    ("  assignment", "  mirror: []\n  assignment", 7, 3, "spec.mirror",
     "is not a field here", "assignment, match, unit, salt, variants"),
    ("assignment: v1", "<<: {salt: x}", 7, 3, "spec.<<", "is not a field here", "no merge keys"),
    ("pathPrefix", "pathprefix", 10, 5, "spec.match.pathprefix",
     "is not a field here", "did you mean 'pathPrefix'?"),
    ("pathPrefix", '"path prefix"', 10, 5, "spec.match['path prefix']",
     "is not a field here", "did you mean 'pathPrefix'?"),
    ("[a.example.com", "[a.example.com:8080", 9, 13, "spec.match.hosts[0]",
     "'a.example.com:8080' is not a host", "leave the port out, every port matches: 'a.ex"),
    ("[a.example.com", "[https://a.com/x", 9, 13, "spec.match.hosts[0]",
     "'https://a.com/x' is not a host", "write the host alone: 'a.com'"),
    ("[a.example.com", '["*"', 9, 13, "spec.match.hosts[0]",
     "'*' is not a host", "leave match.hosts"),
    ("[a.example.com", "[a.*.com", 9, 13, "spec.match.hosts[0]",
     "'a.*.com' is not a host", "*.example.com"),
    ("[a.example.com", "[bücher.de", 9, 13, "spec.match.hosts[0]",
     "'bücher.de' is not a host", "punycode"),
    ("[a.example.com", f"[{'a' * 254}", 9, 13, "spec.match.hosts[0]",
     f"'{'a' * 50}'… (254 characters) is not a host", "at most 253"),
    ("[a.example.com", "[B.example.com", 9, 28, "spec.match.hosts[1]",
     "host 'b.example.com' stands already in line 9", "case means nothing"),
    ("[a.example.com, b.example.com]", "a.example.com", 9, 12, "spec.match.hosts",
     "is 'a.example.com', not a list", 'hosts: [chat.example.com, "*.chat.example.com"]'),
    ("[a.example.com, b.example.com]", str([f"h{i}" for i in range(1001)]), 9, 12,
     "spec.match.hosts", "has 1001 entries", "use at most 1000"),
    (": /v1", ": v1", 10, 17, "spec.match.pathPrefix",
     "'v1' is not a path prefix", "begin with '/'"),
    (": /v1", ': ""', 10, 17, "spec.match.pathPrefix", "'' is not a path prefix", "begin with '/'"),
    (": /v1", ": /v1//x", 10, 17, "spec.match.pathPrefix",
     "'/v1//x' is not a path prefix", "empty segment"),
    (": /v1", ": /v1?x=1", 10, 17, "spec.match.pathPrefix",
     "'/v1?x=1' is not a path prefix", "without query"),
    (": /v1", f": /{'v' * 1024}", 10, 17, "spec.match.pathPrefix",
     f"'/{'v' * 49}'… (1025 characters) is not a path prefix", "at most 1024 bytes"),
    ("header: x-user-id", "header: X-Canary-User", 12, 15, "spec.unit[0].header",
     "header 'X-Canary-User' is reserved: clients cannot send x-canary-*", "outside x-canary-"),
    ("header: x-user-id", "header: Host", 12, 15, "spec.unit[0].header",
     "Envoy turns the header 'host' into ':authority'", "write ':authority'"),
    ("header: x-user-id", "header: user id", 12, 15, "spec.unit[0].header",
     "'user id' is not a header name", "x-user-id"),
    ("header: x-user-id", "header: x-üser", 12, 15, "spec.unit[0].header",
     "'x-üser' is not a header name", "x-user-id"),
    ("header: x-user-id", 'header: "x-\u212aelvin"', 12, 15, "spec.unit[0].header",
     "'x-\u212aelvin' is not a header name", "x-user-id"),
    ("cookie: session", "cookie: a;b", 13, 15, "spec.unit[1].cookie",
     "'a;b' is not a name", "spaces"),
    ("cookie: session", "query: a=b", 13, 14, "spec.unit[1].query",
     "'a=b' is not a name", "spaces"),
    ("cookie: session", "cooky: session", 13, 7, "spec.unit[1].cooky",
     "is not a field here", "did you mean 'cookie'?"),
    ("cookie: session", "clientAddress: false", 13, 22, "spec.unit[1].clientAddress",
     "is false", "write true, or remove"),
    ("cookie: session", "clientAddress: yes", 13, 22, "spec.unit[1].clientAddress",
     "is 'yes', not true", "write true"),
    ("cookie: session", "clientAddress: 1", 13, 22, "spec.unit[1].clientAddress",
     "is the number 1, not true", "write true"),
    ("cookie: session", "{cookie: s, query: q}", 13, 7, "spec.unit[1]",
     "names cookie and query at once", "one of header, cookie, query and clientAddress"),
    ("cookie: session", "{}", 13, 7, "spec.unit[1]", "names no source", "one of header"),
    ("cookie: session", "x-user-id", 13, 7, "spec.unit[1]",
     "is 'x-user-id', not a mapping", "such as {header: x-user-id}"),
    ("cookie: session", "header: X-User-Id", 13, 7, "spec.unit[1]",
     "source 'header x-user-id' stands already in line 12", "keep the first"),
    ("salt: chat-2026", 'salt: ""', 14, 9, "spec.salt", "is empty", "leave it out"),
    ("salt: chat-2026", 'salt: "a\\0b"', 14, 9, "spec.salt",
     "'a\\x00b' holds a control character", "printable"),
    ("salt: chat-2026", 'salt: "a\\tb"', 14, 9, "spec.salt",
     "'a\\tb' holds a control character", "printable"),
    ("salt: chat-2026", f"salt: {'é' * 513}", 14, 9, "spec.salt", "is 1026 bytes long", "1024"),
    ("salt: chat-2026", "salt: 2026", 14, 9, "spec.salt", "is the number 2026, not text", "quotes"),
    ("salt: chat-2026", "salt: null", 14, 9, "spec.salt", "is empty, not text", "remove it"),
    ("salt: chat-2026", "salt: !secret x", 14, 9, "spec.salt",
     "tag '!secret' has no meaning here", "remove the tag"),
    ("salt: chat-2026", "salt: !!binary eA==", 14, 9, "spec.salt",
     "tag '!!binary' has no meaning here", "remove the tag"),
    ("salt: chat-2026", "salt: a\n  salt: b", 15, 3, "spec.salt",
     "the field stands already in line 14", "keep one of the two"),
    ("name: canary", "name: stable", 18, 13, "spec.variants[1].name",
     "variant 'stable' stands already in line 16", "a name of its own"),
    ("name: canary", "name: Canary", 18, 13, "spec.variants[1].name",
     "'Canary' is not a DNS label", "such as 'canary'"),
    ("cluster: chat-v2", "clutser: chat-v2", 20, 7, "spec.variants[1].clutser",
     "is not a field here", "did you mean 'cluster'?"),
    ("cluster: chat-v2", "cluster: chat v2", 20, 16, "spec.variants[1].cluster",
     "'chat v2' is not a cluster name", "no spaces"),
    ("weight: 5\n", "wieght: 5\n", 18, 7, "spec.variants[1].weight", "is missing", "weight: 95"),
    ("weight: 5\n", "weight: -1\n", 19, 15, "spec.variants[1].weight",
     "is negative (-1)", "write 0 or more"),
    ("weight: 5\n", "weight: .nan\n", 19, 15, "spec.variants[1].weight", "is nan", "finite number"),
    ("weight: 5\n", "weight: .inf\n", 19, 15, "spec.variants[1].weight", "is infinity", "finite"),
    ("weight: 5\n", "weight: -.INF\n", 19, 15, "spec.variants[1].weight", "is -infinity", "finite"),
    ("weight: 5\n", "weight: 1e99999999999999999999\n", 19, 15, "spec.variants[1].weight",
     "is infinity", "finite"),
    ("weight: 5\n", "weight: NaN\n", 19, 15, "spec.variants[1].weight",
     "is 'NaN', not a number", "without quotes"),
    ("weight: 5\n", "weight: '5'\n", 19, 15, "spec.variants[1].weight",
     "is '5', not a number", "without quotes"),
    ("weight: 5\n", "weight: 5%\n", 19, 15, "spec.variants[1].weight",
     "is '5%', not a number", "such as 5 or 0.5"),
    ("weight: 5\n", "weight: true\n", 19, 15, "spec.variants[1].weight",
     "is true, not a number", "write a number"),
    ("weight: 5\n", "weight: 1000000000.1\n", 19, 15, "spec.variants[1].weight",
     "is 1000000000.1, more than 1000000000", "divide all weights"),
    ("weight: 5\n", "weight: 1e400000000\n", 19, 15, "spec.variants[1].weight",
     "is 1E+400000000, more than 1000000000", "divide all weights"),
    ("weight: 5\n", "weight: 1e-10\n", 19, 15, "spec.variants[1].weight",
     "0.0000000001 has more than 9 decimals", "round it"),
    ("weight: 5\n", f"weight: 0.1{'0' * 40}1\n", 19, 15, "spec.variants[1].weight",
     f"0.1{'0' * 27}… has more than 9 decimals", "round it"),
]  # fmt: skip


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case[1].strip()[:40])
def test_a_wrong_field_is_named_with_its_place_and_remedy(case):
    old, new, line, column, path, message, remedy = case
    found = mistakes(changed(old, new))
    assert (line, column, path, message) in [seen(one) for one in found]
    assert remedy in next(one.remedy for one in found if one.message == message)
    # The misspelt weight is both an unknown field and a missing one; all others stand alone.
    assert len(found) == (2 if "wieght" in new else 1)


def test_the_good_one_is_good():
    assert mistakes(GOOD) == []


@pytest.mark.parametrize("weight", ["0", "0.0", "-0", "0e5"])
def test_all_weights_zero(weight):
    text = GOOD.replace("weight: 95", "weight: 0").replace("weight: 5", f"weight: {weight}")
    mistake = only(text)
    assert seen(mistake) == (15, 3, "spec.variants", "every weight is zero")
    assert "baseline" in mistake.remedy


@pytest.mark.parametrize(
    ("path", "block"),
    [("unit", "    - header: x-user-id\n    - cookie: session\n"), ("variants", None)],
)
@pytest.mark.parametrize(
    ("written", "message"),
    [
        (" []", "is an empty list"),
        (" {}", "is a mapping, not a list"),
        ("", "is empty, not a list"),
        (" x", "is 'x', not a list"),
    ],
)
def test_a_list_that_is_none(path, block, written, message):
    start = GOOD.index(f"  {path}:\n")
    tail = GOOD[start:].partition("\n")[2]
    text = GOOD[:start] + f"  {path}:{written}\n" + (tail.removeprefix(block) if block else "")
    assert (f"spec.{path}", message) == (only(text).path, only(text).message)


def test_too_many_variants_and_sources():
    variants = "".join(f"    - {{name: v{index}, weight: {64 - index}}}\n" for index in range(66))
    sources = "".join(f"    - query: q{index}\n" for index in range(17))
    head = GOOD.partition("  unit:")[0]
    found = mistakes(f"{head}  unit:\n{sources}  variants:\n{variants}")
    assert [(one.path, one.message, one.remedy) for one in found] == [
        ("spec.unit", "has 17 entries", "use at most 16"),
        ("spec.variants", "has 66 entries", "use at most 64"),
        ("spec.variants[65].weight", "is negative (-1)", "write 0 or more; 0 sends nobody"),
    ]


def test_every_mistake_is_reported_once_and_in_the_order_of_the_file():
    text = """\
apiVersion: canary.dev/v0
kind: Rollouts
metadata: {name: "no way", nam: x}
spec:
  match: {hosts: [a, A], pathPrefix: x}
  unit: [{header: host}, {}, {cookie: "a b", query: q}]
  salt: 1
  variants:
    - {name: a, weight: -1}
    - {name: a, weight: .inf, weight: 1e30}
---
spec: []
"""
    found = [(one.line, one.path) for one in mistakes(text)]
    assert found == [
        (1, "apiVersion"),
        (2, "kind"),
        (3, "metadata.name"),
        (3, "metadata.nam"),
        (5, "spec.match.hosts[1]"),
        (5, "spec.match.pathPrefix"),
        (6, "spec.unit[0].header"),
        (6, "spec.unit[1]"),
        (6, "spec.unit[2]"),
        (6, "spec.unit[2].cookie"),
        (7, "spec.salt"),
        (9, "spec.variants[0].weight"),
        (10, "spec.variants[1].name"),
        (10, "spec.variants[1].weight"),
        (10, "spec.variants[1].weight"),
        (12, "apiVersion"),
        (12, "kind"),
        (12, "metadata"),
        (12, "spec"),
    ]


def test_of_a_foreign_kind_nothing_but_the_kind_is_said():
    foreign = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: chat}\ndata: {}\n"
    assert seen(only(f"{foreign}---\n{GOOD}")) == (2, 7, "kind", "is 'ConfigMap', not 'Rollout'")


def test_a_document_that_is_no_mapping():
    assert seen(only("hello\n")) == (1, 1, "", "'hello' is not a rollout")
    assert seen(only("[]\n---\n- 5\n")) == (3, 3, "[0]", "the number 5 is not a rollout")


def test_a_rollout_twice_in_one_file_names_both_places():
    found = mistakes(f"{GOOD}---\n{GOOD}")
    assert [seen(one) for one in found] == [
        (4, 9, "metadata.name", "rollout 'chat' is declared also in 0.yaml:25"),
        (25, 9, "metadata.name", "rollout 'chat' is declared also in 0.yaml:4"),
    ]


def test_a_rollout_in_two_files_blames_both_and_declares_neither():
    other = GOOD.replace("name: chat\n", "name: other\n")
    reading = read([Source(name, text.encode()) for name, text in [
        ("a.yaml", GOOD), ("b.yaml", GOOD), ("c.yaml", other),
    ]])  # fmt: skip
    assert [str(one).partition("\n")[0] for one in reading.mistakes] == [
        "a.yaml:4:9: metadata.name: rollout 'chat' is declared also in b.yaml:4",
        "b.yaml:4:9: metadata.name: rollout 'chat' is declared also in a.yaml:4",
    ]
    assert [one.file for one in reading.declared] == ["c.yaml"]


def test_a_faultless_rollout_is_declared_whatever_stands_beside_it():
    reading = read([Source("a.yaml", f"{GOOD}---\nkind: Rollout\n---\na: 'b".encode())])
    assert [one.rollout.name for one in reading.declared] == ["chat"]
    assert {one.line for one in reading.mistakes} == {22, 24}


@pytest.mark.parametrize("old", ["kind: Rollout\n", "  salt: chat-2026\n"])
def test_a_rollout_with_a_field_twice_is_not_declared(old):
    reading = read([Source("a.yaml", changed(old, old + old).encode())])
    assert (reading.declared, len(reading.mistakes)) == ((), 1)


def test_a_rollout_with_other_mistakes_still_claims_its_name():
    found = mistakes(GOOD, changed("weight: 5\n", "weight: -5\n"))
    assert [(one.file, one.path) for one in found] == [
        ("0.yaml", "metadata.name"),
        ("1.yaml", "metadata.name"),
        ("1.yaml", "spec.variants[1].weight"),
    ]


def test_more_than_a_thousand_mistakes_are_cut_and_said_to_go_on():
    found = mistakes(GOOD + "".join(f"x{index}: 1\n" for index in range(1500)))
    assert len(found) == 1001
    assert found[-1].message == "more mistakes follow"


def test_a_mistake_reads_as_two_lines():
    mistake = only(changed("weight: 5\n", "weight: -1\n"))
    assert str(mistake) == (
        "0.yaml:19:15: spec.variants[1].weight: is negative (-1)\n"
        "  remedy: write 0 or more; 0 sends nobody"
    )
