"""What CI systems read: annotations, outputs of a step, code quality."""
