"""The networks and the parts they are composed of."""
