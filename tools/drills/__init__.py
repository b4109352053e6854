"Drills: what the tests are too short for. `make drills` runs them; docs/maintain/drills.md says how."
