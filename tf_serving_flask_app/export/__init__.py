"""Commands that make models the server can serve."""
