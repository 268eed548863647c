"""Measures both services, what they are held against, and the article's claims: `make bench`."""
