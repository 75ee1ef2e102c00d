"""A truly busy machine: real burners, a real memory hog, real control groups."""
