"""Retail: real transactions (`examples/retail`), and a churn case of any size (`examples/retail/churn.py`)."""

from examples.retail.journey import retail

__all__ = ["retail"]
