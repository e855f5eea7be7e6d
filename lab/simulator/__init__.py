"""One trading day of many accounts, with plants whose truth is known."""

from lab.simulator.config import SimulatorConfig, Truth
from lab.simulator.market import Market
from lab.simulator.plan import plant_names

__all__ = ["Market", "SimulatorConfig", "Truth", "plant_names"]
