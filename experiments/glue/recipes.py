"""Moved to studies.recipes."""

from experiments.glue.moved import moved

if __name__ == "__main__":
    moved(__file__)
