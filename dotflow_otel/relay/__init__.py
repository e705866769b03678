"""What steps record in workers, on its way back to the run."""
