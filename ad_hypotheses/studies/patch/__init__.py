"""Measure by path patching which edges of a model matter."""
