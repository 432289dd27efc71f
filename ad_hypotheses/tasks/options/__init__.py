"""What options of task families change: where a goal is when, what moves do, what places pay, how arms drift."""
