"""Claims of the video family."""
