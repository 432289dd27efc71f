"""The course of a training: what its batches are drawn from, what is predicted beside actions, and when it ends."""
