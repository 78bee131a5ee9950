"""Safety policies: what an agent may do with real money, as data, and the pure judgement of it."""
