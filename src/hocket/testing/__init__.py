"""Conformance suites: inherit one in a test class, say what to test, and pytest runs it."""
