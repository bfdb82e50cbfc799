"""Metrics: all metrics of Asgard, and how jobs export them."""
