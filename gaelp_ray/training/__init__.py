"""What runs on workers. Scripts use ``from gaelp_ray.training import current_context``."""

from gaelp_ray.training.context import BudgetExhausted, Checkpoint, TrainingContext, current_context

__all__ = ["BudgetExhausted", "Checkpoint", "TrainingContext", "current_context"]
