"""Simulated markets an advertising agent can train in.

Importing this package registers ``gaelp/AdAuction-v0`` with Gymnasium; the module that implements it is only
imported when an environment is made.
"""

import gymnasium

AD_AUCTION = "gaelp/AdAuction-v0"

if AD_AUCTION not in gymnasium.registry:
    gymnasium.register(AD_AUCTION, entry_point="gaelp_ray.training.environments.auction:AdAuctionEnv")
