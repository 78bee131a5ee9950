"""A module that is interrupted before it is whole."""

raise KeyboardInterrupt
