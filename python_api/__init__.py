"""The users service in Python: FastAPI on uvicorn, SQLAlchemy, pydantic. Its twin is `node_api/src`."""
