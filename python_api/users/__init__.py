"""The users feature: everything under `/users`."""
