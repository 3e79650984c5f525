"""Studies: many runs of train.py as one grid, and the tables, figures and reports made of them. Knows no benchmark."""
