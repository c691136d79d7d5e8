"""Files kept between runs: locking, cleaning up, listing and removing."""
