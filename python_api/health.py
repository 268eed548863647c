"""Whether the service is alive, and whether it can serve."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from python_api.database import Database
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


def health_routes(database: Database) -> APIRouter:
    """`/healthz` and `/readyz`."""
    router = APIRouter()

    @router.get("/healthz", **operation(HEALTHZ))
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", **operation(READYZ))
    async def readyz() -> Response:
        await database.ping()
        return JSONResponse({"status": "ok"})

    return router
