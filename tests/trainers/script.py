"""A trainer that is a script: ``python script.py --steps 3``."""

import argparse

from gaelp_ray.training import current_context

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2)
steps = parser.parse_args().steps
ctx = current_context()
for step in range(1, steps + 1):
    ctx.report({"reward": float(step)}, step=step, total_steps=steps)
print("script done")
