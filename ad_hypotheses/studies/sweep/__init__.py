"""Train and compare a grid of models."""
