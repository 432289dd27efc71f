"""What records say together: a study that was planned before its runs, and the page on what came out."""
