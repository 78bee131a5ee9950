"""gaelp-ray: one service for the whole life of an advertising agent."""

__version__ = "0.1.0"
