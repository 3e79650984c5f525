"""Moved to studies.sweep."""

from experiments.glue.moved import moved

if __name__ == "__main__":
    moved(__file__)
