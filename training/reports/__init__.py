"""Tables and plots over whole data sets."""
