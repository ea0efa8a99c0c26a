"""Hidden commands of earlier versions whose arguments differ from their replacement's."""
