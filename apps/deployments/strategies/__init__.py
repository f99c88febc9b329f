"""How a change reaches gateways: plans that people write, and pure functions that say what a plan means now."""
