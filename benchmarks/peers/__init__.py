"""Other calculators asked the same questions: how many parameters, bytes of weights, of keys and values, and in all."""
