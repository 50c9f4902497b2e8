"""Reading an Envoy configuration as a plain tree, in whatever shape somebody has it.

Names are read in snake_case and camelCase, as Envoy reads them. Nothing here knows of canaries,
and no tree makes it fall over: what is not there is not found.
"""

import re
from collections.abc import Iterator
from typing import Any

_CAMEL = re.compile(r"[a-z][a-z0-9]*([A-Z][a-z0-9]*)+")


def snake(tree: Any) -> Any:
    """Return the tree with every field name in snake_case; extension names stay as they are."""
    if isinstance(tree, list):
        return [snake(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    return {_snake_key(str(key)): snake(value) for key, value in tree.items()}


def typed(tree: Any, suffix: str) -> Iterator[Any]:
    """Every object whose `@type` ends with `suffix`."""
    return (one for one in walk(tree) if str(one.get("@type", "")).endswith(suffix))


def items(tree: Any, key: str) -> Iterator[Any]:
    """Every object in every list called `key`."""
    for node in walk(tree):
        yield from objects(node.get(key))


def objects(value: Any) -> Iterator[Any]:
    """Every object of what should be a list."""
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def walk(tree: Any) -> Iterator[Any]:
    """Every object in the tree, the outer ones first."""
    if isinstance(tree, dict):
        yield tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for child in children:
        yield from walk(child)


def at(tree: Any, *keys: str) -> Any:
    """Follow the keys down; an empty object where one is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return {} if tree is None else tree


def matches(matcher: Any, text: str) -> bool:
    """Envoy's StringMatcher, as far as a tree has one."""
    if regex := at(matcher, "safe_regex", "regex"):
        return fits(str(regex), text)
    kind, wanted = next(((k, str(v)) for k, v in matcher.items() if k != "ignore_case"), ("", ""))
    if matcher.get("ignore_case"):
        wanted, text = wanted.lower(), text.lower()
    checks = {
        "exact": text == wanted,
        "prefix": text.startswith(wanted),
        "suffix": text.endswith(wanted),
        "contains": wanted in text,
    }
    return checks.get(kind, False)


def fits(regex: str, text: str) -> bool:
    """Whether a regular expression fits the whole text; one that only RE2 reads is believed."""
    try:
        return bool(re.fullmatch(regex, text))
    except re.error:
        return True


def _snake_key(key: str) -> str:
    if not _CAMEL.fullmatch(key):
        return key
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
