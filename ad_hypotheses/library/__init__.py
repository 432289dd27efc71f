"""What a researcher types in Python: one function for one question, each thin above a study."""
