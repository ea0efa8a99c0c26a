"""Documents of manifests to the model's values, with every finding."""
