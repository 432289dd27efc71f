"""Measure on known networks how often verdicts are wrong."""
