"""Moved to studies.table."""

from experiments.glue.moved import moved

if __name__ == "__main__":
    moved(__file__)
