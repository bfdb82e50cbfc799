"""Declarations: tables, intervals, pipelines, SQL files; and the plan of what to compute."""
