"""The store's schema, step by step; run when the store is opened to write."""
