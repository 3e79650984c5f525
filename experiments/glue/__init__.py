"""GLUE: raw files to canonical rows; its tasks, recipes and recorded studies."""
