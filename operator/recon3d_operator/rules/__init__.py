"""One file per rule; each is a pure function of what was observed and of the time."""
