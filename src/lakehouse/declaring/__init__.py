"""Declarations: tables, intervals, pipelines, SQL files; what a plan makes of them."""
