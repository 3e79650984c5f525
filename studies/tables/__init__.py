"""Scores by method and task, their differences at equal seeds, what the tests say, and how tables are set."""
