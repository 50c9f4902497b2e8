"""The HTTP API: what `canary status`, `history` and the commands do, for whoever has only HTTP.

Who may do what is decided by the same rules as on the control stream (docs/security.md); they come
in as `admit`. A change must be sent as application/json: no form on somebody's web page can do
that. Where callers show nothing, only hosts of this machine are answered, so that no foreign name
that resolves to it (DNS rebinding) is.
"""

import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web

from sidecar.delivery import Command, Event, Judgement, Origin, State, Switch
from sidecar.errors import CanaryError
from sidecar.web import views

MAX_BODY_BYTES = 64 * 1024
_LONGEST_WEIGHT = 64
_LONGEST_TEXT = 4096
_BODY_FIELDS = {"why", "who", "expectedRevision"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger(__name__)


class RequestError(CanaryError):
    """A request that cannot be meant."""

    def __init__(
        self, message: str, *, remedy: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class Caller(Protocol):
    """Who calls, as far as it is known."""

    def signs(self, claimed: str) -> str:
        """Return who stands in the record for a change. Raises CanaryError if nobody may."""


class Accepted(Protocol):
    """A change that was kept; `after is before` if there was nothing to change."""

    @property
    def before(self) -> State:
        """How it stood."""

    @property
    def after(self) -> State:
        """How it stands."""


class Launches(Protocol):
    """What the controller knows and can do."""

    @property
    def states(self) -> Mapping[str, State]:
        """Every rollout's state by name."""

    @property
    def judgements(self) -> Mapping[str, Judgement]:
        """The guard's newest words."""

    async def act(
        self, name: str, command: Command | Switch, origin: Origin, expected_revision: int | None
    ) -> Accepted:
        """Do what somebody asks of a launch. Raises CanaryError."""

    async def set_weights(
        self,
        name: str,
        weights: Mapping[str, Decimal],
        origin: Origin,
        expected_revision: int | None,
    ) -> Accepted:
        """Change the weights in force. Raises CanaryError."""

    def trips_of(self, name: str) -> Iterable[views.Trip]:
        """Return who holds out which of its variants by itself."""

    def state(self, name: str) -> State:
        """Return one rollout's state. Raises CanaryError if there is none of that name."""


@dataclass(frozen=True, slots=True)
class Access:
    """How callers are judged: by certificate (as `ssl` gives it) and bearer token, and peer.

    `guarded`: callers must show something. `status_of` gives an error's HTTP status.
    """

    admit: Callable[[Mapping[str, Any] | None, str, str], Caller]
    guarded: bool
    status_of: Callable[[CanaryError], int]


History = Callable[[str, int], Awaitable[list[Event]]]


def application(launches: Launches, history: History, access: Access) -> web.Application:
    """Return the API as an application that is ready to be served."""
    app = web.Application(middlewares=[_errors_as_json(access)], client_max_size=MAX_BODY_BYTES)
    api = _Api(launches, history, access)
    app.router.add_get("/healthz", _healthy)
    app.router.add_get("/v1/rollouts", api.rollouts)
    app.router.add_get("/v1/rollouts/{name}", api.rollout)
    app.router.add_get("/v1/rollouts/{name}/history", api.history)
    app.router.add_put("/v1/rollouts/{name}/weights", api.set_weights)
    words = "|".join([*Command, *Switch])
    app.router.add_post(f"/v1/rollouts/{{name}}/{{command:{words}}}", api.act)
    return app


async def _healthy(request: web.Request) -> web.Response:
    del request
    return web.json_response({"status": "ok"})


class _Api:
    def __init__(self, launches: Launches, history: History, access: Access) -> None:
        self._launches = launches
        self._history = history
        self._access = access

    async def rollouts(self, request: web.Request) -> web.Response:
        self._admit(request)
        states = sorted(self._launches.states.items())
        return web.json_response({"rollouts": [self._view(state) for _, state in states]})

    async def rollout(self, request: web.Request) -> web.Response:
        self._admit(request)
        return web.json_response(self._view(self._launches.state(request.match_info["name"])))

    async def history(self, request: web.Request) -> web.Response:
        self._admit(request)
        name = self._launches.state(request.match_info["name"]).name
        events = await self._history(name, _newest(request.query.get("newest")))
        return web.json_response({"events": [views.event(one) for one in events]})

    async def act(self, request: web.Request) -> web.Response:
        caller = self._admit(request)
        body = await _body(request, _BODY_FIELDS)
        word = request.match_info["command"]
        command = Switch(word) if word in {*Switch} else Command(word)
        origin = _origin(caller, body)
        name, expected = request.match_info["name"], _expected(body)
        return self._accepted(await self._launches.act(name, command, origin, expected))

    async def set_weights(self, request: web.Request) -> web.Response:
        caller = self._admit(request)
        body = await _body(request, _BODY_FIELDS | {"weights"})
        weights = _weights(body.get("weights"))
        origin = _origin(caller, body)
        name, expected = request.match_info["name"], _expected(body)
        return self._accepted(await self._launches.set_weights(name, weights, origin, expected))

    def _accepted(self, accepted: Accepted) -> web.Response:
        changed = accepted.after is not accepted.before
        return web.json_response({"changed": changed, "rollout": self._view(accepted.after)})

    def _view(self, state: State) -> dict[str, Any]:
        word = self._launches.judgements.get(state.name)
        trips = self._launches.trips_of(state.name)
        return views.rollout(state, word, trips, datetime.now(UTC))

    def _admit(self, request: web.Request) -> Caller:
        if not self._access.guarded:
            _refuse_foreign_names(request)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else ""
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        return self._access.admit(certificate, token, request.remote or "unix")


def _errors_as_json(access: Access) -> Any:
    @web.middleware
    async def answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestError as error:
            return _refusal(error.status, str(error.args[0]), error.remedy)
        except CanaryError as error:
            return _refusal(access.status_of(error), str(error.args[0]), error.remedy)
        except web.HTTPException as error:
            remedy = "the endpoints are listed in docs/delivery.md"
            return _refusal(error.status, error.reason, remedy, error.headers.get("Allow", ""))
        except Exception:  # noqa: BLE001 - an answer is owed, and the log has the rest
            _log.exception("request failed", extra={"path": request.path})
            return _refusal(500, "the controller failed on this request", "see its log")

    return answer


def _refusal(status: int, message: str, remedy: str, allow: str = "") -> web.Response:
    headers = {"Allow": allow} if allow else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"error": message, "remedy": remedy}, status=status, headers=headers)


def _refuse_foreign_names(request: web.Request) -> None:
    """Answer only to what can be nobody else's name."""
    sockname = request.transport.get_extra_info("sockname") if request.transport else None
    host = request.url.host or ""
    if isinstance(sockname, str) or host == "localhost" or _is_address(host):
        return
    raise RequestError(
        f"{host!r} is not a name of this controller",
        remedy="ask it at localhost or by its address",
        status=HTTPStatus.MISDIRECTED_REQUEST,
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


async def _body(request: web.Request, fields: set[str]) -> dict[str, Any]:
    """Read a JSON object of these fields; none at all is an empty one."""
    if request.content_type != "application/json":
        raise RequestError(
            "the body is not application/json",
            remedy="send Content-Type: application/json, with {} where there is nothing to say",
            status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )
    try:
        body = json.loads(await request.text() or "{}", parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not JSON", remedy="send a JSON object") from error
    if not isinstance(body, dict):
        raise RequestError("the body is not a JSON object", remedy='send such as {"why": "..."}')
    if unknown := sorted(body.keys() - fields):
        raise RequestError(
            f"{unknown[0][:64]!r} is not a field here", remedy=f"known: {', '.join(sorted(fields))}"
        )
    return body


def _origin(caller: Caller, body: Mapping[str, Any]) -> Origin:
    said = {}
    for field in ("who", "why"):
        said[field] = body.get(field, "")
        if not isinstance(said[field], str) or len(said[field]) > _LONGEST_TEXT:
            raise RequestError(
                f"{field} is no text of at most {_LONGEST_TEXT} characters", remedy="shorten it"
            )
    return Origin(datetime.now(UTC), caller.signs(said["who"] or "http"), said["why"])


def _expected(body: Mapping[str, Any]) -> int | None:
    given = body.get("expectedRevision")
    if given is None:
        return None
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 20:
        return int(given)
    raise RequestError(
        "expectedRevision is not a whole number", remedy="take it from the rollout's revision"
    )


def _newest(given: str | None) -> int:
    if given is None:
        return -1
    if given.isascii() and given.isdigit() and 0 < len(given) < 10 and int(given):
        return int(given)
    raise RequestError(f"newest={given[:20]!r} is not a count", remedy="write such as newest=20")


def _weights(given: Any) -> dict[str, Decimal]:
    remedy = 'send such as {"weights": {"canary": "12.5"}}'
    if not isinstance(given, dict) or not given:
        raise RequestError("weights is not an object of variants", remedy=remedy)
    weights = {}
    for variant, weight in given.items():
        try:
            text = weight if isinstance(weight, str) and len(weight) <= _LONGEST_WEIGHT else "no"
            weights[variant] = Decimal(text)
        except InvalidOperation as error:
            raise RequestError(
                f"the weight of {variant[:64]!r} is not a number", remedy=remedy
            ) from error
    return weights
