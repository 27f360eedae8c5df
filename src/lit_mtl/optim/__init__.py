"""Learning rates, their course over time, and the sum of the losses: functions and torch only."""
