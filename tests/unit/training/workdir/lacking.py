"""A script that lacks a module."""

import a_module_that_does_not_exist  # noqa: F401
