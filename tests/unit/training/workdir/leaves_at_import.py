"""A module that leaves before it is whole."""

import sys

sys.exit("no data here")
