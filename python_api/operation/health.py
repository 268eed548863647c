"""What an operator asks: whether the service is alive, whether it can serve, what it has done."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from python_api.http.openapi import content, headers
from python_api.http.readers import ReadingRoute, TheDatabase
from python_api.operation.observability import METRICS_TYPE, render_metrics

STATUS = {"$ref": "#/components/schemas/Status"}
OK = {"description": "Yes.", "headers": headers(), "content": content(STATUS, {"status": "ok"})}

HEALTHZ: dict[str, Any] = {
    "operationId": "healthz",
    "summary": "Is the service alive?",
    "description": "Asks nothing else.",
    "responses": {"200": OK},
}
READYZ: dict[str, Any] = {
    "operationId": "readyz",
    "summary": "Can the service serve?",
    "description": "Asks the database.",
    "responses": {"200": OK},
    "x-problems": ["unavailable"],
}
SAMPLE = 'http_requests_total{method="GET",route="/users/{id}",status="200"} 1\n'
METRICS: dict[str, Any] = {
    "operationId": "metrics",
    "summary": "What has the service done?",
    "description": "Requests and their durations, in Prometheus' text format.",
    "responses": {
        "200": {
            "description": "The metrics.",
            "headers": headers(),
            "content": content({"type": "string"}, SAMPLE, "text/plain"),
        }
    },
}


router = APIRouter(route_class=ReadingRoute)


@router.get("/healthz", openapi_extra=HEALTHZ)
async def healthz() -> Response:
    """Whether the service is alive. Clauses: HEALTH-01, HEALTH-04."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", openapi_extra=READYZ)
async def readyz(database: TheDatabase) -> Response:
    """Whether it can serve. Clauses: HEALTH-02, HEALTH-03."""
    await database.ping()
    return JSONResponse({"status": "ok"})


@router.get("/metrics", openapi_extra=METRICS)
async def metrics() -> Response:
    """What it has done. Clauses: METRICS-01."""
    return Response(render_metrics(), headers={"Content-Type": METRICS_TYPE})
