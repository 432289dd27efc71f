"""Distil a checkpoint from one configuration."""
