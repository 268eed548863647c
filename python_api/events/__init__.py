"""Events: what happened to users, in one log that all services of a database share."""
