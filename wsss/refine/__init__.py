"""From maps to masks: thresholds and the dense conditional random field."""
