"""Real servers for tests: each starts on loopback, dies with the tests, and can be killed."""
