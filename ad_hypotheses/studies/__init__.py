"""The questions that can be put to a model, a folder each."""
