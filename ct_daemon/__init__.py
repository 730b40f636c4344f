"""A continuous-training daemon driven by drift detection."""

__version__ = "0.1.0"
