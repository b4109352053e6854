"Drills: what the tests are too short for. `make drills` runs them; CONTRIBUTING.md says how."
