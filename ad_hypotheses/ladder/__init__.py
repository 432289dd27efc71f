"""The ladder: learners from the simplest to the source itself, each of which can be run on any context."""
