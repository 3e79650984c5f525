"""Figures: the numbers each one shows, and their drawing."""
