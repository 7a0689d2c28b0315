"""Measures the real server under load, beside what the same machine does with no HTTP in between."""
