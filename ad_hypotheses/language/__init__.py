"""What a researcher may say: sites, nodes, hypotheses, and the histories that features read."""
