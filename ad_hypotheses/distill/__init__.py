"""The in-context learner: its tokens, the transformer, how it is trained, rolled out, and kept on disk."""
