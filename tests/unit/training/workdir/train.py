"""A training script, as people write them: run by `python train.py`."""

import argparse
import json
import sys

from gaelp_ray.training import current_context

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=int, default=0)
parser.add_argument("--with-tool", default="")
parser.add_argument("--leave", type=int)
options = parser.parse_args()

assert __name__ == "__main__"
current_context().report({"x": options.x}, step=1)
print(json.dumps(sys.argv))
if options.leave is not None:
    sys.exit(options.leave)
