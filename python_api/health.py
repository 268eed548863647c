"""What an operator asks: whether the service is alive, whether it can serve, what it has done."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from python_api.database import Database
from python_api.observability import METRICS_TYPE, render_metrics
from python_api.openapi import REQUEST_ID, content, headers, operation, problems

STATUS = {"$ref": "#/components/schemas/Status"}
OK = {"description": "Yes.", "headers": headers(), "content": content(STATUS, {"status": "ok"})}

HEALTHZ = {
    "operationId": "healthz",
    "summary": "Is the service alive?",
    "description": "Asks nothing else.",
    "parameters": [REQUEST_ID],
    "responses": {"200": OK, **problems()},
}
READYZ = {
    "operationId": "readyz",
    "summary": "Can the service serve?",
    "description": "Asks the database.",
    "parameters": [REQUEST_ID],
    "responses": {"200": OK, **problems("unavailable")},
}
SAMPLE = 'http_requests_total{method="GET",route="/users/{id}",status="200"} 1\n'
METRICS = {
    "operationId": "metrics",
    "summary": "What has the service done?",
    "description": "Requests and their durations, in Prometheus' text format.",
    "parameters": [REQUEST_ID],
    "responses": {
        "200": {
            "description": "The metrics.",
            "headers": headers(),
            "content": content({"type": "string"}, SAMPLE, "text/plain"),
        },
        **problems(),
    },
}


def health_routes(database: Database) -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter()

    # HEALTH-01, HEALTH-04
    @router.get("/healthz", **operation(HEALTHZ))
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    # HEALTH-02, HEALTH-03
    @router.get("/readyz", **operation(READYZ))
    async def readyz() -> Response:
        await database.ping()
        return JSONResponse({"status": "ok"})

    # METRICS-01
    @router.get("/metrics", **operation(METRICS))
    async def metrics() -> Response:
        return Response(render_metrics(), headers={"Content-Type": METRICS_TYPE})

    return router
