"""What is proven: canonical entries, hash chain, writer and verifier."""
