"""Contexts that agents of several kinds live, and what the source's algorithm would do at every step of them."""
