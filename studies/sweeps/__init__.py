"""What a sweep does: which runs, on which devices, in what order; what it shows of them."""
