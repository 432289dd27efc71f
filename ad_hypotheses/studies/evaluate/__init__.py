"""Compare how models learn in their context."""
