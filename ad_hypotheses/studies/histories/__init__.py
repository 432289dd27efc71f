"""Generate the histories of a source, and show whether it learns."""
