"""Who may do what: each route has a scope, and each request is checked for it before its view runs.

    1. the route's scope     `needs("write")` on the view; a route without one keeps the application from starting
    2. the key               caller.py says where it may stand in a request
    3. scope, origin, network of that key
    4. rates                 of the client address (METRONOME_RATE_LIMIT, where the scope is write), and of the key

Refusals are 401, 403 and 429, with the project's one error body. A view reads the result of the check by `current()`.

METRONOME_OPEN says whether requests need a key at all. The default depends on METRONOME_BIND, and on whether a key was
ever made: docs/keys.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, Literal, TypeVar

from flask import Flask, Request, Response, current_app, g, request

from metronome.errors import BadKey, Forbidden, MetronomeError, SetupError, TooMany
from metronome.intake import Origin
from metronome.intake.origin import PUBLIC_HORIZON
from metronome.keyring import Keyring
from metronome.keys import ALL, Key
from metronome.kinds import is_loopback
from metronome.settings import Settings
from metronome.wire.caller import client_address, is_within, origin_of, token_of
from metronome.wire.rates import Rates, Usage, name_of

Scope = Literal["public", "write", "read", "edit", "admin"]
View = TypeVar("View", bound=Callable[..., Any])


def needs(scope: Scope) -> Callable[[View], View]:
    """Mark a view with the scope that its callers need; `create_app` refuses a route whose view has no mark."""

    def mark(view: View) -> View:
        view.scope = scope  # type: ignore[attr-defined]
        return view

    return mark


@dataclass(frozen=True)
class Access:
    """The rights of a request. `key` is the id of its key, or empty if it needed none."""

    address: str
    key: str = ""
    grants: frozenset[str] = ALL
    app: str = ""
    publishable: bool = False
    origins: tuple[str, ...] = ()
    rate: str = ""

    def answers(self, origin: str) -> bool:
        """Whether a page of this origin may read the answer."""
        return not self.origins or "*" in self.origins or origin.lower() in self.origins


def current() -> Access:
    """The rights of the current request."""
    if "access" not in g:
        g.access = Access(client_address(request, _gate().trusted))
    access: Access = g.access
    return access


def bound_app() -> str:
    """The application that the request's key is bound to, or an empty text. It is `current().app`, but faster."""
    return g.access.app if "access" in g else ""


def _gate() -> Gate:
    gate: Gate = current_app.extensions["gate"]
    return gate


def origin(dialect: str, agent: str | None = None) -> Origin:
    """The origin of the current request's events: dialect, agent, key, and the client's address."""
    if "access" not in g:
        return Origin(dialect, agent)
    access: Access = g.access
    return Origin(
        dialect,
        agent,
        access.address,
        access.key,
        {"app": access.app} if access.app else {},
        horizon=PUBLIC_HORIZON if access.publishable else None,
    )


def guard(app: Flask, settings: Settings, keyring: Keyring) -> None:
    """Check every request of `app`. Call this after all routes have been added and each view has its scope."""
    gate = Gate(settings, keyring)
    app.extensions["gate"] = gate
    for endpoint, view in app.view_functions.items():
        scope: Scope = getattr(view, "scope")  # noqa: B009 - mypy knows no attribute of a function
        if scope != "public":
            app.view_functions[endpoint] = gate.before(view, scope)

    @app.after_request
    def finish(response: Response) -> Response:
        return gate.finish(response) if "checked" in g else response


class Gate:
    """The check before each request of one process."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self.keyring = keyring
        self.rates = Rates(settings.home / "rates.db")
        self.trusted = settings.trusted_proxies
        self._settings = settings
        self._rate = settings.rate_limit

    def before(self, view: Callable[..., Any], scope: str) -> Callable[..., Any]:
        """Wrap the view in a check. Flask's own hooks before a request would cost time even where no key is needed."""

        @wraps(view)
        def checked(*given: Any, **named: Any) -> Any:
            if self._rate or not serves_all(self._settings, self.keyring):
                self.check(scope)
            return view(*given, **named)

        return checked

    def check(self, scope: str) -> None:
        """Raises BadKey, Forbidden or TooMany. Raises StoreUnavailable while the keys haven't been read yet."""
        g.checked = True
        access = g.access = self.admit(request, scope, in_query=scope == "write")
        if self._rate and scope == "write":
            self._count(name_of(access.address), self._rate, "one address")
        if access.rate:
            self._count(f"key {access.key}", access.rate, f"key {access.key}")

    def admit(self, request: Request, scope: str, *, in_query: bool) -> Access:
        """The rights of the sender of a request; raises BadKey or Forbidden if they don't cover this scope.

        `in_query` says whether the key may stand in the URL.
        """
        address = client_address(request, self.trusted)
        if serves_all(self._settings, self.keyring):
            return Access(address)
        key = self._admitted(request, scope, address, token_of(request, in_query=in_query))
        return Access(address, key.id, key.grants, key.app, key.publishable, key.origins, key.rate)

    def _admitted(self, request: Request, scope: str, address: str, token: str) -> Key:
        if not token:
            raise BadKey(
                "this gateway asks for a key: send Authorization: Bearer mt_…, or X-Api-Key: mt_…, or the key as "
                "password of Basic authentication"
            )
        key = self.keyring.find(token)
        if scope not in key.grants:
            raise Forbidden(f"key {key.id} has no scope {scope}; it may {', '.join(sorted(key.grants))}")
        if key.origins and "*" not in key.origins:
            origin = origin_of(request)
            if origin not in key.origins:
                raise Forbidden(f"key {key.id} isn't for pages of {origin[:100] or 'no origin'}")
        if key.networks and not is_within(address, key.parsed_networks):
            raise Forbidden(f"key {key.id} isn't for the network that this request came from")
        return key

    def _count(self, name: str, rate: str, whose: str) -> None:
        usage = self.rates.hit(name, rate)
        tighter = g.get("usage")
        if tighter is None or usage.remaining < tighter.remaining:
            g.usage = usage
        if not usage.allowed:
            raise TooMany(
                f"more than {rate} from {whose}; send again in {usage.reset_s} s", retry_after_s=usage.reset_s
            )

    def finish(self, response: Response) -> Response:
        """Add headers for the sender: how to send a key, the rest of its rate, which pages may read the answer."""
        if response.status_code == 401:
            # The page of a script has a field for the key, and the browser's own window would stand before it.
            by_script = request.headers.get("Sec-Fetch-Dest") == "empty"
            for kind in ("Bearer",) if by_script else ("Bearer", "Basic"):
                response.headers.add("WWW-Authenticate", f'{kind} realm="metronome"')
        usage: Usage | None = g.get("usage")
        if usage is not None:
            response.headers.add("RateLimit-Limit", str(usage.limit))
            response.headers.add("RateLimit-Remaining", str(usage.remaining))
            response.headers.add("RateLimit-Reset", str(usage.reset_s))
        if response.headers.get("Access-Control-Allow-Origin") == "*" and not serves_all(self._settings, self.keyring):
            self._answer_origin(response)
        return response

    def _answer_origin(self, response: Response) -> None:
        """Name the page's origin in the CORS header, if its key is for that origin, and no other origin."""
        origin = request.headers.get("Origin", "")
        access: Access | None = g.get("access")
        response.headers.add("Vary", "Origin")
        if origin and access is not None and access.answers(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
        else:
            del response.headers["Access-Control-Allow-Origin"]


def serves_all(settings: Settings, keyring: Keyring) -> bool:
    """Whether requests need no key: METRONOME_OPEN says so, or only this machine has access and no key was made yet."""
    if settings.open:
        return settings.open == "yes"
    return _is_private(settings.bind) and not keyring.has_keys


@lru_cache(maxsize=8)
def _is_private(bind: str) -> bool:
    """Whether only this machine can reach that address. The function is called for every request."""
    return is_loopback(bind.rpartition(":")[0])


def check_start(settings: Settings, make_keyring: Callable[[], Keyring]) -> None:
    """Check before a server listens. Raises SetupError if other machines could reach it and there is no key.

    `make_keyring` is called only if the answer depends on whether there are keys.
    """
    if settings.open == "yes" or _is_private(settings.bind):
        return
    keyring = make_keyring()
    try:
        keyring.refresh()
    except MetronomeError:
        # Elasticsearch may start later. Until then, only keys of the local copy are accepted.
        return
    if not keyring.has_keys:
        raise SetupError(
            f"METRONOME_BIND: {settings.bind} can be reached from elsewhere, and there is no key yet. Make one with "
            "`metronome keys create`, or bind to 127.0.0.1, or say METRONOME_OPEN=yes if everybody may post and ask"
        )
