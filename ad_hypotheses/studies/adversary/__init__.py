"""Search for what a hypothesis leaves out."""
