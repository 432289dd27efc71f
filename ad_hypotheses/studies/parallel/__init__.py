"""The parts of a study on several processes, of this machine or of a cluster."""
