"""Find everything wrong with hypotheses before a model is run."""
