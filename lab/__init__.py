"""What is tried: market simulator, plants, benchmarks."""
