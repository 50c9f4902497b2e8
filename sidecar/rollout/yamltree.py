"""YAML into trees, straight from libyaml's events.

No composer stands between: it recurses in C over whatever nesting a file brings, and unfolds
aliases without counting. Here depth and unfolded size are bounded while the events come in, so
a hostile file costs no more than a large honest one. Every way a file can be wrong is a Problem.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from sidecar.rollout.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    Fields,
    Items,
    Loc,
    Parsed,
    Place,
    Problem,
    UnreadableError,
    repeated,
    scalar,
)

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset(("!", _TAG + "str"))
_COLLECTION_TAGS = frozenset((None, "!", _TAG + "map", _TAG + "seq"))
# YAML 1.2 §5.1; libyaml would say so too, but without line and column.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# libyaml compares each %TAG with all before it.
_DIRECTIVES = re.compile(r"^%", re.MULTILINE)
_MAX_DIRECTIVES = 100

_NO_COLON = "could not find expected ':'"

# What libyaml says, what we say, and what to do; the first that fits. `{opened}` is the line of
# what it was reading when it stumbled.
_WORDS = (
    ("tab character", "a tab stands where YAML wants spaces", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a ':' stands where none can",
        "check the indentation of this line, and put quotes around a text that holds ': '",
    ),
    (
        "block sequence entries are not allowed",
        "a '- ' stands where none can",
        "begin the list on a line of its own, or put quotes around the '-'",
    ),
    (_NO_COLON, "a key without its ':'", "write 'key: value', with a space after the ':'"),
    (
        "did not find expected ',' or",
        "the bracket opened in line {opened} is not closed",
        "close it, and put ',' between its entries",
    ),
    (
        "did not find expected node content",
        "a value is missing, or a bracket before this is not closed",
        "close every '[' and '{{', and put ',' between their entries",
    ),
    (
        "did not find expected",
        "the line does not fit the indentation above it",
        "align it with its neighbours",
    ),
    (
        "found unexpected end of stream",
        "the quote opened in line {opened} is not closed",
        "close it",
    ),
    (
        "found unexpected document indicator",
        "the quote opened in line {opened} is not closed",
        "close it before the next document begins",
    ),
)


def documents(text: str, notes: list[Problem]) -> Iterator[Parsed]:
    """Parse a file's documents in turn, adding to `notes` what is wrong but can be read past.

    Raises UnreadableError where reading ends early.
    """
    _refuse_odd_text(text)
    tree = _Tree(notes)
    try:
        for event in yaml.parse(text, Loader=yaml.CBaseLoader):
            if isinstance(event, yaml.ScalarEvent):
                tree.scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                tree.open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                tree.close()
            elif isinstance(event, yaml.AliasEvent):
                tree.alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                tree.begin()
            elif isinstance(event, yaml.DocumentEndEvent):
                yield tree.end()
    except yaml.YAMLError as error:
        raise UnreadableError(_in_words(error, text)) from error


@dataclass(slots=True)
class _Open:
    """A collection whose end is still to come."""

    at: Place
    anchor: str | None
    before: int
    fields: Fields | None
    key: str | None = None
    key_at: Place = (1, 1)
    items: list[Any] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def wants_key(self) -> bool:
        return self.fields is not None and self.key is None


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    size: int


class _Tree:
    """Grows one document at a time; `count` is what the file has unfolded to so far."""

    def __init__(self, notes: list[Problem]) -> None:
        self.notes = notes
        self.count = 0
        self.noted = 0
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Anchored] = {}

    def begin(self) -> None:
        self.anchors = {}
        self.noted = len(self.notes)
        self.stack = [_Open((1, 1), None, self.count, None)]

    def end(self) -> Parsed:
        root = self.stack.pop()
        return Parsed(root.places[0], root.items[0], len(self.notes) > self.noted)

    def scalar(self, event: yaml.ScalarEvent) -> None:
        at = _start(event)
        self._grow(1, at)
        top = self.stack[-1]
        if top.wants_key():
            self._key(event.value, at)
            return
        value: Any = event.value
        if event.tag is None:
            value = scalar(value) if event.implicit[0] else value
        elif event.tag not in _TEXT_TAGS:
            self._note_tag(event.tag, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, 1)
        self._add(value, at)

    def open(self, event: yaml.CollectionStartEvent) -> None:
        at = _start(event)
        self._grow(1, at)
        if len(self.stack) > MAX_DEPTH:
            raise UnreadableError(
                Problem(
                    at, (), f"nested more than {MAX_DEPTH} deep", "a rollout needs no such depth"
                )
            )
        if self.stack[-1].wants_key():
            raise UnreadableError(
                Problem(at, self._loc(), "a list or mapping cannot be a field's name", "use a text")
            )
        if event.tag not in _COLLECTION_TAGS:
            self._note_tag(event.tag, at)
        fields = Fields(at) if isinstance(event, yaml.MappingStartEvent) else None
        self.stack.append(_Open(at, event.anchor, self.count - 1, fields))

    def close(self) -> None:
        done = self.stack.pop()
        value = Items.of(done.items, done.places) if done.fields is None else done.fields
        if done.anchor is not None:
            self.anchors[done.anchor] = _Anchored(value, self.count - done.before)
        self._add(value, done.at)

    def alias(self, event: yaml.AliasEvent) -> None:
        at, name = _start(event), str(event.anchor)
        if any(open_.anchor == name for open_ in self.stack):
            self._give_up(at, f"alias '*{name}' holds itself", "write the value out")
        found = self.anchors.get(name)
        if found is None:
            self._give_up(
                at, f"alias '*{name}' has no anchor '&{name}' before it", "define it first"
            )
        self._grow(found.size, at)
        if not self.stack[-1].wants_key():
            self._add(found.value, at)
        elif isinstance(found.value, str):
            self._key(found.value, at)
        else:
            self._give_up(at, f"alias '*{name}' is not a text, so it names no field", "use a text")

    def _key(self, key: str, at: Place) -> None:
        top = self.stack[-1]
        if top.fields is not None and key in top.fields:
            self.notes.append(repeated(self._loc(), key, at, top.fields.keys_at[key]))
        top.key, top.key_at = key, at

    def _add(self, value: Any, at: Place) -> None:
        top = self.stack[-1]
        if top.fields is None:
            top.items.append(value)
            top.places.append(at)
        elif top.key is not None:
            top.fields.put(top.key, top.key_at, value, at)
            top.key = None

    def _grow(self, by: int, at: Place) -> None:
        self.count += by
        if self.count > MAX_VALUES:
            cause = "its aliases unfold to" if by > 1 else "the file holds"
            self._give_up(
                at,
                f"{cause} more than {MAX_VALUES:,} values",
                "write values out instead of nesting aliases, and split large files",
            )

    def _note_tag(self, tag: str | None, at: Place) -> None:
        shown = str(tag).replace(_TAG, "!!", 1)
        self.notes.append(
            Problem(at, self._loc(), f"tag {shown!r} has no meaning here", "remove the tag")
        )

    def _give_up(self, at: Place, message: str, remedy: str) -> NoReturn:
        raise UnreadableError(Problem(at, self._loc(), message, remedy))

    def _loc(self) -> Loc:
        """Return the way to the value that comes next."""
        steps = (len(o.items) if o.fields is None else o.key for o in self.stack[1:])
        return tuple(step for step in steps if step is not None)


def _start(event: yaml.Event) -> Place:
    mark: Any = event.start_mark  # libyaml marks every event
    return mark.line + 1, mark.column + 1


def _refuse_odd_text(text: str) -> None:
    odd = _UNPRINTABLE.search(text)
    if odd:
        raise UnreadableError(
            Problem(
                _place_at(text, odd.start()),
                (),
                f"character U+{ord(odd.group()):04X} cannot stand in YAML",
                'remove it, or write it as an escape in double quotes, such as "\\u0007"',
            )
        )
    if len(_DIRECTIVES.findall(text)) > _MAX_DIRECTIVES:
        raise UnreadableError(
            Problem((1, 1), (), f"more than {_MAX_DIRECTIVES} lines begin with '%'", "remove them")
        )


def _place_at(text: str, index: int) -> Place:
    line_start = text.rfind("\n", 0, index) + 1
    return text.count("\n", 0, index) + 1, index - line_start + 1


def _in_words(error: yaml.YAMLError, text: str) -> Problem:
    said = getattr(error, "problem", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    opened = getattr(error, "context_mark", None) or mark
    if said == _NO_COLON:
        mark = opened
    at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if "cannot start any token" in said and mark:
        character = text[mark.index : mark.index + 1]
        if character != "\t":
            return Problem(
                at, (), f"{character!r} cannot begin a value", "put quotes around the value"
            )
        said = "tab character"
    for heard, message, remedy in _WORDS:
        if heard in said:
            line = opened.line + 1 if opened else at[0]
            return Problem(at, (), message.format(opened=line), remedy.format())
    return Problem(
        at, (), f"the YAML cannot be read: {said}", "check quotes and brackets near here"
    )
