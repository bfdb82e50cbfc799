"""Metrics: every metric that Asgard has, and how they leave a job."""
