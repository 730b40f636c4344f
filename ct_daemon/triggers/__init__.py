"""Claims that a run is due: pure functions of one `Observation` and `now`. The policy decides what comes of a claim.

A trigger is a frozen dataclass of its options with ``evaluate(observation, now) -> Firing | Quiet``. The
`dedupe_key` of a firing names its evidence and is part of the ledger: the same evidence is answered by one run.

- `on_demand`: a person asks
- `initial`: no model yet, and enough labelled rows for one
- `new_data`: enough new rows or files since the last training
- `concept_drift`: columns moved away from the live model's baseline
- `performance_drop`: the live version does worse on matured labels than when it was made
- `schedule`: a slot of the schedule came
- `control`: never, or every n-th file; what a detector is held against
"""
