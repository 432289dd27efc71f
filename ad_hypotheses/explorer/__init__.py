"""The explorer: a page in the browser on which a context is edited, and shows what the model does and why."""
