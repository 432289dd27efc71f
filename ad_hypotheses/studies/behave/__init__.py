"""What does a model do where simpler learners and its source would do different things?"""
