"""Written English to spoken English, a module for each group of classes."""
