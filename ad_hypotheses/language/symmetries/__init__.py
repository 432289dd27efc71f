"""Donors that are made instead of found: what makes them, and whether it keeps what it should."""
