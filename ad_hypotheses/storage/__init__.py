"""What lies on disk and must outlive an interruption: whole files, locks on folders, measurements to go on from."""
