"""Small servers of the same three operations, which the services are measured against."""
