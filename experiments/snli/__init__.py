"""SNLI: to canonical rows; task and recipes."""
