"""Storage: the database's two engines, and its schema."""
