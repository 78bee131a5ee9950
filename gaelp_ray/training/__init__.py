"""What runs on workers. Scripts use ``from gaelp_ray.training import current_context``."""

from gaelp_ray.training.budget import BudgetExhausted
from gaelp_ray.training.context import Checkpoint, TrainingContext, current_context
from gaelp_ray.training.orders import Denied, Halted

__all__ = ["BudgetExhausted", "Checkpoint", "Denied", "Halted", "TrainingContext", "current_context"]
