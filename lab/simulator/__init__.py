"""One trading day of many accounts, with plants whose truth is known."""

from lab.simulator.config import SimulatorConfig, Truth
from lab.simulator.market import Market
from lab.simulator.plan import plant_names
from lab.simulator.plant_files import FilePlant, PlantFileError, load_plants

__all__ = [
    "FilePlant",
    "Market",
    "PlantFileError",
    "SimulatorConfig",
    "Truth",
    "load_plants",
    "plant_names",
]
