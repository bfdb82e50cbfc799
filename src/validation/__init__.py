"""Checks and audits of DataFrames, independent of any catalog.

`checks` has the functions that declare checks, `rules` what a declaration means, `compiler` decides what statistics
answer and what must be read, `scan` reads, `validator` gives the verdict.
"""
