"""Which of two claims distinguishes what the model cares about?"""
