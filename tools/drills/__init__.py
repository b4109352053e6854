"Long tests that look for faults. `make drills` runs them; docs/maintain/drills.md says how."
