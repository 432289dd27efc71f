"""Test a hypothesis by causal scrubbing: the study, its record, its page."""
