"""What is kept between runs, and how it is emptied."""
