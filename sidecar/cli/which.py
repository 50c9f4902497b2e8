"""`canary which`: who answers a request, and why.

The explanation comes from the twin. The same request goes through the native table as Envoy's
message; what the request would carry is read from that answer, and a difference is an error.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from sidecar import config
from sidecar.cli import explained, key_file, pasted
from sidecar.cli import rollouts as named
from sidecar.cli.options import run_dir_option
from sidecar.control import calls
from sidecar.control.snapshot import Resource, Snapshot
from sidecar.errors import CanaryError
from sidecar.routing import (
    Route,
    Table,
    by_name,
    columns,
    compile_table,
    route_of,
    twin,
    twin_codec,
)
from sidecar.routing.explaining import explain_one
from sidecar.routing.force import Key

_FEW = 10
_HEADER = re.compile(r"(?P<name>:?[^\s:=]+)\s*[:=](?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The request, as the command line has it."""

    headers: tuple[str, ...]
    cookies: tuple[str, ...]
    path: str | None
    host: str | None
    method: str | None
    client_address: str | None
    inputs: tuple[str, ...]
    curl: str | None
    har: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """Rollouts with weights, where those weights come from, and the keys of force tokens."""

    routes: tuple[Route, ...]
    version: str
    source: str
    keys: tuple[Key, ...] = ()
    now_s: int = twin.NEVER


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="K=V",
    help="A request header; 'k: v' will do. Repeat for more.",
)
@click.option(
    "--cookie", "cookies", multiple=True, metavar="K=V", help="A cookie. Repeat for more."
)
@click.option("--path", help="Path and query as Envoy routes them.  [default: one that fits]")
@click.option("--host", help="The request's authority.  [default: one that fits]")
@click.option("--method", help="The request's method.  [default: GET]")
@click.option("--client-address", metavar="IP", help="Envoy's source.address, without port.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="K=V",
    help="What other filters tell: claim:payload.email=..., metadata:FILTER:KEY.KEY=...,"
    " attribute:NAME=...; a value in [] is a JSON list. Repeat for more.",
)
@click.option(
    "--curl",
    metavar="COMMAND",
    help="Take the request from a curl command, as a browser's developer tools copy it; '-' reads"
    " it from stdin. Other options stand above what it says.",
)
@click.option(
    "--har",
    metavar="FILE[:N]",
    help="Take the request from a HAR file, its entry N (from 1; needed if there are several).",
)
@click.option(
    "--force-keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The sidecar's keys, to judge a force token.  [default: every token is unknown]",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="ROLLOUTS",
    help="Files or folders of rollouts, with their declared weights, instead of the running"
    " sidecar with the weights in force. Repeat for more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@run_dir_option
def which(
    name: str,
    files: tuple[str, ...],
    run_dir: str | None,
    force_keys: Path | None,
    *,
    as_json: bool,
    **request: Any,
) -> None:
    """Explain which variant of rollout NAME answers a request, and why.

    Every rule that is looked at is shown, in the order of precedence, with its conditions and what
    they found. Asks the running sidecar for the weights in force; --file reads rollout files
    instead.

    \b
    canary which chat-model --header x-user-id=u42
    canary which chat-model --cookie session=abc --path /v1/chat --file rollouts/
    canary which chat-model --curl "curl https://chat.example.com/ -H 'x-user-id: u42'"
    canary which chat-model --har recorded.har:3 --input claim:payload.email=a@example.com
    """  # noqa: D301 - click takes the real backspace
    held = _declared(files) if files else _in_force(config.settings(run_dir=run_dir))
    if force_keys:
        held = replace(held, keys=key_file.read(force_keys), now_s=int(time.time()))
    route = _named(held, name)
    asked = _request(route, Asked(**request))
    carried = explained.carried(_answer(held, asked))
    explanation = explain_one(route, asked, among=held.routes, now_s=held.now_s, keys=held.keys)
    if as_json:
        click.echo(json.dumps(explained.as_json(explanation, carried, held.source), indent=2))
    else:
        explained.show(explanation, asked, carried, held.source)


def _declared(files: Iterable[str]) -> Held:
    rollouts = named.read(files)
    routes = [
        route_of(one, {variant.name: variant.weight for variant in one.variants})
        for one in rollouts
    ]
    return Held(by_name(routes), Snapshot(map(Resource.of, routes)).version, "declared in files")


def _in_force(settings: config.Settings) -> Held:
    held = calls.sidecar_resources(settings.admin)
    return Held(by_name(held.routes), held.version, f"in force at {settings.admin}")


def _named(held: Held, name: str) -> Route:
    for route in held.routes:
        if route.name == name:
            return route
    there = ", ".join(route.name for route in held.routes[:_FEW]) or "none"
    more = f" and {len(held.routes) - _FEW} more" if len(held.routes) > _FEW else ""
    raise CanaryError(f"no rollout {name!r}", remedy=f"there are: {there}{more}")


def _request(route: Route, asked: Asked) -> twin.Request:
    """Build the request; what nobody said about host and path is chosen to fit."""
    headers = [*map(_header, asked.headers)]
    if asked.cookies:
        headers.append(("cookie", os.fsencode("; ".join(asked.cookies))))
    # The first value of a header counts, so what is said by its own option stands in front.
    headers += _pasted(asked)
    given = {name for name, _ in headers}
    host, path, method = asked.host, asked.path, asked.method
    if host is None and ":authority" not in given and route.hosts:
        host = re.sub(r"^\*", "any", route.hosts[0])
    if path is None and ":path" not in given:
        path = route.path_prefix or "/"
    if method is None and ":method" not in given:
        method = "GET"
    pseudo = ((":authority", host), (":path", path), (":method", method))
    metadata, attributes = _told(asked.inputs)
    return twin.Request(
        headers=[*((name, os.fsencode(text)) for name, text in pseudo if text), *headers],
        source_address=_address(asked.client_address).encode(),
        metadata=metadata,
        attributes=attributes,
    )


def _pasted(asked: Asked) -> pasted.Headers:
    if asked.curl and asked.har:
        raise CanaryError("--curl and --har are two requests", remedy="give one of them")
    if asked.curl:
        text = os.fsdecode(sys.stdin.buffer.read()) if asked.curl == "-" else asked.curl
        return pasted.curl(text)
    return pasted.har(asked.har) if asked.har else []


def _told(inputs: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort what other filters tell into metadata and attributes. Raises CanaryError."""
    metadata: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        asked = columns.read(name)
        if not equals or asked.kind not in {"metadata", "attribute"}:
            raise CanaryError(
                f"--input {text!r} is neither metadata nor an attribute with a value",
                remedy="write such as --input claim:payload.email=a@example.com; headers, cookies"
                " and the rest have options of their own",
            )
        into = metadata if asked.kind == "metadata" else attributes
        columns.place(into, asked.name, columns.plain(value))
    return metadata, attributes


def _header(text: str) -> tuple[str, bytes]:
    header = _HEADER.fullmatch(text)
    if not header:
        raise CanaryError(f"{text!r} is not a header", remedy="write --header x-user-id=u42")
    name = header["name"].lower()
    # Envoy takes the white space around a value off, and calls the host by its HTTP/2 name.
    return ":authority" if name == "host" else name, os.fsencode(header["value"].strip(" \t"))


def _address(text: str | None) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError as error:
        raise CanaryError(
            f"{text!r} is not an IP address", remedy="write --client-address 203.0.113.7"
        ) from error


def _answer(held: Held, request: twin.Request) -> bytes:
    """Let the native table answer. Raises CanaryError if its specification answers otherwise."""
    message = twin_codec.write(request)
    table = Table(compile_table(held.routes, held.version, held.keys))
    answer = table.answer(message, held.now_s)
    decided = [
        (one.rollout, one.variant, one.reason, one.position, one.second)
        for one in twin.decide(held.routes, request, now_s=held.now_s, keys=held.keys)
    ]
    expected = twin_codec.answer(
        held.routes, held.version, message, now_s=held.now_s, keys=held.keys
    )
    if answer != expected or table.decide(message, held.now_s) != decided:
        raise CanaryError(
            "the data path answers this request otherwise than its specification explains it",
            remedy="believe neither; report it with this command line and the rollouts",
        )
    return answer
