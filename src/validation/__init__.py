"""Checks and audits over DataFrames; knows no catalog.

`checks` declares, `rules` holds what a declaration means, `compiler` decides what statistics answer and
what must be read, `scan` reads, `validator` gives the verdict.
"""
