"""Task definitions, canonical rows, features and metrics: everything that is data and not a model."""
