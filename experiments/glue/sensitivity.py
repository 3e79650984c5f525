"""Moved to studies.sensitivity."""

from experiments.glue.moved import moved

if __name__ == "__main__":
    moved(__file__)
