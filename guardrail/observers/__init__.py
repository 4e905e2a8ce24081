"""Those who watch a Guard: OpenTelemetry, a log of verdicts, or anything that is called with an `Observation`."""
