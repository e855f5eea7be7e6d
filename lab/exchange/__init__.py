"""A market of orders that meet: a matching engine, flow that drives it, and how real it is."""
