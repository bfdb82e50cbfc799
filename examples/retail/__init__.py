"""Retail: real receipts (`examples/retail`), and a generated churn case of any size (`examples/retail/churn.py`)."""

from examples.retail.journey import retail

__all__ = ["retail"]
