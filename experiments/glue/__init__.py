"""GLUE: raw files to canonical rows, and tables of finished runs."""
