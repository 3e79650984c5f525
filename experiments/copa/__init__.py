"""COPA and Balanced COPA: to canonical rows; task and recipes."""
