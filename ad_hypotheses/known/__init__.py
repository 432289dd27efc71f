"""Transformers whose algorithm is known node by node, and hypotheses about them whose truth is known."""
