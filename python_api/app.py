"""The application: what every answer carries, problems, and the routers, in reading order."""

from http import HTTPMethod

from fastapi import FastAPI, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from python_api.auth import docs as auth_docs
from python_api.auth.guard import Guard
from python_api.auth.routes import router as auth_router
from python_api.events import docs as events_docs
from python_api.events.feed import Feed
from python_api.events.routes import router as events_router
from python_api.events.service import Events
from python_api.http.cors import cors_headers
from python_api.http.docs import router as docs_router
from python_api.http.problems import Problem, render_problem
from python_api.http.requests import ACCEPT_PATCH, header, route_path
from python_api.operation.health import router as health_router
from python_api.operation.observability import NO_ROUTE, Observation, log, request_id, trace
from python_api.settings import Settings
from python_api.storage.database import Database, is_unavailable
from python_api.users import docs as users_docs
from python_api.users.routes import router as users_router
from python_api.users.service import Users
from python_api.webhooks import docs as webhooks_docs
from python_api.webhooks.deliveries import Deliveries
from python_api.webhooks.routes import router as webhooks_router
from python_api.webhooks.service import Webhooks

METHODS = (HTTPMethod.DELETE, HTTPMethod.GET, HTTPMethod.PATCH, HTTPMethod.POST, HTTPMethod.PUT)


def create_app(settings: Settings, database: Database) -> FastAPI:
    """The service over this database, ready to be served.

    Clauses: RIGHT-13, ROUTE-04, ROUTE-05, ROUTE-09, ROUTE-15.
    """
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # OpenTelemetry would be looked for at each request; `observability` tells what there is.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(CommonHeaders, cors_origins=settings.cors_origins)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, answer_unrouted)
    guard = Guard(settings, database)
    app.state.settings = settings
    app.state.database = database
    app.state.guard = guard
    app.state.users = Users(settings, database, guard)
    app.state.events = Events(settings, database)
    app.state.feed = Feed(settings, app.state.events, guard)
    app.state.webhooks = Webhooks(settings, database, guard)
    deliveries = Deliveries(settings, database, app.state.events)
    # For the server below: what to run beside it, and what to tell as it begins to stop.
    app.state.beside = (deliveries.run,)
    app.state.on_stop = (app.state.feed.stop, deliveries.stop)
    app.state.schemas = {
        **auth_docs.SCHEMAS,
        **users_docs.SCHEMAS,
        **events_docs.SCHEMAS,
        **webhooks_docs.SCHEMAS,
    }
    routers = (
        auth_router,
        users_router,
        events_router,
        webhooks_router,
        health_router,
        docs_router,
    )
    # `include_router` would match each request twice, once to find the router.
    app.router.routes += [route for router in routers for route in router.routes]
    return app


class CommonHeaders:
    """Middleware: the header fields that every answer carries, and an answer to every failure."""

    def __init__(self, app: ASGIApp, cors_origins: tuple[str, ...]) -> None:
        self.app = app
        self.cors_origins = cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; pass on what is none.

        Clauses: CORS-02, CORS-03, HDR-01, HDR-05, HDR-06, IDEM-03, LOG-01, METRICS-02, METRICS-03,
        OPS-11, ROUTE-06.
        """
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        this_request = request_id(header(headers, "x-request-id"))
        # A WebSocket begins with a GET (RFC 6455, 4.1).
        method = scope.get("method", "GET")
        observation = Observation(method, this_request)

        asked = {
            **scope,
            "path": route_path((scope.get("raw_path") or scope["path"].encode()).decode("latin-1")),
            # HEAD is GET: the server keeps the body back (RFC 9110, 9.3.2; ROUTE-10, ROUTE-11,
            # USR-READ-03, USR-LIST-21, COND-12, METRICS-06).
            "method": "GET" if method == "HEAD" else method,
        }

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "websocket.accept":
                message["headers"] = [*message["headers"], (b"X-Request-Id", this_request.encode())]
                observation.end(route_template(asked), 101)
            elif message["type"].endswith("http.response.start"):
                fields = MutableHeaders(scope=message)
                fields["X-Request-Id"] = this_request
                fields["X-Content-Type-Options"] = "nosniff"
                fields["Cache-Control"] = "no-cache" if "ETag" in fields else "no-store"
                fields.update(
                    cors_headers(
                        self.cors_origins,
                        header(headers, "origin"),
                        header(headers, "access-control-request-method"),
                        fields.get("allow") if message["status"] == 204 else None,
                    )
                )
                observation.end(route_template(asked), message["status"])
            elif method == "HEAD" and message.get("more_body"):
                # Without this, a stream would go on for nobody (STREAM-12).
                await send({"type": "http.response.body"})
                raise ClientDisconnect
            await send(message)

        try:
            await self.app(asked, receive, send_with_headers)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001
            await answer_failure(error, this_request)(asked, receive, send_with_headers)


def route_template(scope: Scope) -> str:
    """The template of the request's path, such as `/users/{id}`, whatever its method.

    Clauses: LOG-02, METRICS-04.
    """
    route = scope.get("route")
    return getattr(route, "path", NO_ROUTE)


def answer_failure(error: Exception, this_request: str) -> Response:
    """503 if the database is unavailable, else 500; the cause goes into the log.

    Clauses: HEALTH-03, HEALTH-05, OPS-11, OPS-12.
    """
    log("error", "request failed", request_id=this_request, error=trace(error))
    return render_problem(Problem("unavailable" if is_unavailable(error) else "internal"))


async def answer_problem(_request: Request, error: Exception) -> Response:
    """Render a problem that was raised."""
    assert isinstance(error, Problem)
    return render_problem(error)


async def answer_unrouted(request: Request, _error: Exception) -> Response:
    """404 for a path that has no route; else 204 for OPTIONS and 405 for any other method.

    Clauses: BODY-07, PROB-10, PROB-11, ROUTE-01, ROUTE-03, ROUTE-12, ROUTE-13, ROUTE-16.
    """
    methods = allowed_methods(request)
    if not methods:
        return render_problem(Problem("not-found"))
    allow = {"Allow": ", ".join(methods)}
    if request.method == HTTPMethod.OPTIONS:
        accept = {"Accept-Patch": ACCEPT_PATCH} if HTTPMethod.PATCH in methods else {}
        return Response(None, 204, allow | accept)
    return render_problem(Problem("method-not-allowed", headers=allow))


def allowed_methods(request: Request) -> list[str]:
    """The methods of the request's path, in alphabetical order; none if it has no route.

    Clauses: ROUTE-02.
    """
    methods: set[str] = {
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    if HTTPMethod.GET in methods:
        methods.add(HTTPMethod.HEAD)
    return sorted(methods | {HTTPMethod.OPTIONS}) if methods else []
