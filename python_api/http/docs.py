"""`/openapi.json`, and `/docs`: a page over it, whose assets come from the service itself."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from python_api.http.openapi import as_it_runs, openapi_document

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Users</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/init.js"></script>
</body>
</html>
"""
SCRIPT = 'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui" });\n'

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

ASSETS = files("fastapi_swagger.resources")


# None of these routes stands in the document itself.
router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The document of the service as it runs. Clauses: DOC-01."""
    app: FastAPI = request.app
    document = openapi_document(app, app.state.schemas)
    return JSONResponse(as_it_runs(document, app.state.settings))


@router.get("/docs")
async def docs() -> Response:
    """The page. Clauses: DOC-06, DOC-08, DOC-10."""
    return Response(PAGE, headers=PAGE_HEADERS, media_type="text/html")


@router.get("/docs/init.js")
async def script() -> Response:
    """The script that starts Swagger UI. Clauses: DOC-09."""
    return Response(SCRIPT, media_type="text/javascript")


@router.get("/docs/swagger-ui-bundle.js")
async def bundle() -> Response:
    """Swagger UI. Clauses: DOC-09, HDR-12."""
    return Response(asset("swagger-ui-bundle.js"), media_type="text/javascript")


@router.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Swagger UI's style sheet. Clauses: DOC-09."""
    return Response(asset("swagger-ui.css"), media_type="text/css")


@cache
def asset(name: str) -> bytes:
    """A file of the page, read once: however many slow clients there are, they share its bytes.

    Clauses: DOC-07, HTTP-22.
    """
    return ASSETS.joinpath(name).read_bytes()
