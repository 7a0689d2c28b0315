"""The backends on real TensorFlow, with the small models that they load."""
