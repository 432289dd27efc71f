"""The engines: the exact oracle, the primitive both share, causal scrubbing, and what is measured."""
