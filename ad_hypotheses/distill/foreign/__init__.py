"""Checkpoints that others trained, as models of this house."""
