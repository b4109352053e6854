"How good and how fast, measured in a way that can be repeated."
