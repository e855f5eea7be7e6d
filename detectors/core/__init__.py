"""What every detector stands on: contract, tables, kernels and the account stage."""
